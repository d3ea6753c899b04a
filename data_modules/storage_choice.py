"""Where the rows of a data set are kept while it is trained on: chosen by measured sizes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lawm.data_modules.available_memory import available_memory
from lawm.data_modules.raw_cache import free_disk
from lawm.data_modules.shard_headers import ShardHeader
from lawm.errors import LawmError

Storage = Literal["auto", "memory", "mapped", "stream"]
MEMORY_SHARE = 0.5  # of what is available; the rest is for the model and other programs
DISK_SHARE = 0.5
MAX_STREAM_WORKERS = 4


@dataclass(frozen=True)
class StorageChoice:
    """What was chosen, and the sentence that says why."""

    storage: Literal["memory", "mapped", "stream"]
    reason: str


def choose_storage(
    wanted: Storage,
    headers: Sequence[ShardHeader],
    cache: Path,
    *,
    num_processes: int = 1,
    available: int | None = None,
    disk: int | None = None,
) -> StorageChoice:
    """Choose by size; all kinds give the same batches.

    ``memory`` where the unpacked data fit in half of the available memory. Else ``mapped``, where
    windows are read at their place in uncompressed files, if there is nothing to unpack or the
    unpacked copies fit in half of the free disk; else ``stream``.

    Args:
        wanted: Anything but ``auto`` is taken as it is.
        headers: The shards.
        cache: The folder of unpacked copies.
        num_processes: That hold data on this machine.
        available: Bytes of memory; None measures.
        disk: Bytes that are free at ``cache``; None measures.

    Raises:
        LawmError: ``memory`` is wanted and cannot be had.
    """
    available = available_memory() if available is None else available
    size = sum(header.num_bytes for header in headers)
    each = available // max(1, num_processes)
    room = f"{_size(size)} of data, {_size(each)} of memory available to each process"
    if wanted == "memory" and size > each:
        raise LawmError(
            f"data.storage is memory, but there are {room}. Set it to auto, mapped or stream."
        )
    if wanted != "auto":
        return StorageChoice(wanted, "as set")
    if size <= MEMORY_SHARE * each:
        return StorageChoice("memory", room)
    packed = sum(header.num_packed_bytes for header in headers)
    if packed == 0:
        return StorageChoice("mapped", room)
    disk = free_disk(cache) if disk is None else disk
    copies = f"{_size(packed)} of it are compressed, {_size(disk)} are free in {cache}"
    if packed <= DISK_SHARE * disk:
        return StorageChoice("mapped", f"{room}; {copies} for unpacked copies")
    return StorageChoice("stream", f"{room}; {copies}")


def choose_workers(wanted: int | None, storage: str, num_processes: int) -> int:
    """Processes that read batches ahead: none but for compressed chunks, where they pay."""
    if wanted is not None:
        return wanted
    if storage != "stream":
        return 0
    return max(1, min(MAX_STREAM_WORKERS, (os.cpu_count() or 1) // max(1, num_processes) - 1))


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


__all__ = ["Storage", "StorageChoice", "choose_storage", "choose_workers"]
