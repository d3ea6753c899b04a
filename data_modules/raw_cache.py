"""Unpacked copies of compressed datasets, so that windows can be read at their place in a file.

A copy is named after the SHA-256 of its content and written under a temporary name first: it is
there whole or not at all, and two processes that make the same one do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from lawm.data_modules.shard_checks import refuse_damage
from lawm.data_modules.shard_file import BLOCK_BYTES, ShardArray
from lawm.errors import LawmError


def default_cache_folder() -> Path:
    """``$XDG_CACHE_HOME/lawm/rows``, where the variable is not set ``~/.cache/lawm/rows``."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lawm" / "rows"


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is or would be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def unpacked(array: ShardArray, folder: Path, *, verify: bool) -> Path:
    """The file with the rows of a dataset, unpacked and end to end; made where it is missing.

    Args:
        array: The dataset.
        folder: Of the copies.
        verify: Compare a copy that is there with its checksum.

    Raises:
        LawmError: The dataset is damaged, or the copy cannot be written.
    """
    target = folder / f"{array.checksum}.raw"
    is_whole = target.exists() and target.stat().st_size == array.num_bytes
    if is_whole and (not verify or _hash(target) == array.checksum):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="unpacking-", dir=folder)
        try:
            digest = hashlib.sha256()
            with os.fdopen(descriptor, "wb") as file:
                for _, rows in array.blocks():
                    data = np.ascontiguousarray(rows).tobytes()
                    digest.update(data)
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            refuse_damage(array.path, array.name, digest.hexdigest(), array.checksum)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise LawmError(
            f"`/{array.name}` of {array.path} cannot be unpacked into {folder}: {error}. Set "
            "data.cache_dir to a disk with room, or data.storage to stream."
        ) from error
    return target


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            digest.update(data)
    return digest.hexdigest()


__all__ = ["default_cache_folder", "free_disk", "unpacked"]
