"""Guarded access to the HDF5 file of a shard: nothing is followed out of the file.

A shard may come from anywhere. Soft and external links, virtual datasets, external storage and
object types (references, pickles) are refused, and so is storage that was declared and never
written, which HDF5 would read as zeros.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from lawm.data_modules import shard_format as fmt
from lawm.errors import LawmError

REMAKE = "Write it anew with `lawm data collect` or `lawm data import`."
OBSERVATION_RANK = {np.dtype(np.float32): 2, np.dtype(np.uint8): 4}  # (N, D) and (N, H, W, C)

Shape = tuple[int | EllipsisType, ...]  # `...` stands for any one size


class ShardFile:
    """An open shard whose parts are checked as they are taken; a context manager.

    Args:
        path: The HDF5 file.
        verify: Compare every dataset that is taken with the SHA-256 that the file states of it.

    Raises:
        LawmError: The file is missing or cannot be opened as HDF5; every method raises it too.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        self.path = path
        self.verify = verify
        if not path.exists():
            raise LawmError(
                f"There is no shard {path}. Check the path, or make one with `lawm data collect`."
            )
        if path.is_dir():
            raise LawmError(f"{path} is a folder; expected the HDF5 file of a shard.")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise LawmError(_why_it_does_not_open(path, error)) from error

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def attribute(self, name: str) -> object:
        """The value of an attribute of the file, which must be there."""
        if name not in self._file.attrs:
            raise LawmError(f"{self.path} has no attribute `{name}`. {REMAKE}")
        try:
            value: object = self._file.attrs[name]
        except (OSError, TypeError, ValueError) as error:
            raise LawmError(f"Attribute `{name}` of {self.path} is unreadable: {error}.") from error
        return value

    def observation_keys(self) -> list[str]:
        """The names under /obs, sorted; at least one."""
        keys = sorted(self._own(fmt.OBS_GROUP, h5py.Group))
        if not keys:
            raise LawmError(f"{self.path} holds no observations: `/obs` is empty. {REMAKE}")
        return keys

    def checksums(self) -> dict[str, str]:
        """The SHA-256 that the file states of each dataset, by the dataset's name."""
        names = [name for name in ("action", "reward", "physics") if name in self._file]
        names += ["terminated", "truncated"]
        names += [f"{fmt.OBS_GROUP}/{key}" for key in self.observation_keys()]
        names += [fmt.OFFSET, fmt.HAS_ACTION, fmt.HAS_REWARD, fmt.SOURCE_ID, fmt.RETURN]
        return {name: self._stated_checksum(name) for name in names}

    def observation(self, key: str, num_rows: int) -> NDArray[Any]:
        """(N, D) float32 or (N, H, W, C) uint8."""
        name = f"{fmt.OBS_GROUP}/{key}"
        dataset = self._own(name, h5py.Dataset)
        if dataset.dtype not in OBSERVATION_RANK:
            raise LawmError(
                f"`/{name}` of {self.path} has type {dataset.dtype}, expected float32 for a state "
                f"or uint8 for an image. {REMAKE}"
            )
        rank = OBSERVATION_RANK[dataset.dtype]
        return self._checked(name, dataset, dataset.dtype, (num_rows, *([...] * (rank - 1))))

    def array(self, name: str, dtype: DTypeLike, shape: Shape) -> NDArray[Any]:
        """A dataset that must be there, of this type and shape."""
        return self._checked(name, self._own(name, h5py.Dataset), np.dtype(dtype), shape)

    def optional(self, name: str, dtype: DTypeLike, shape: Shape) -> NDArray[Any] | None:
        """As :meth:`array`, or None where the file has no such dataset."""
        return self.array(name, dtype, shape) if name in self._file else None

    def texts(self, name: str, num: int) -> list[str]:
        """A dataset of ``num`` fixed-length UTF-8 texts."""
        dataset = self._own(name, h5py.Dataset)
        if dataset.dtype.kind != "S":
            raise LawmError(
                f"`/{name}` of {self.path} has type {dataset.dtype}, expected fixed-length text. "
                f"{REMAKE}"
            )
        values = self._checked(name, dataset, dataset.dtype, (num,))
        try:
            return [bytes(value).decode() for value in values]
        except UnicodeDecodeError as error:
            raise LawmError(f"`/{name}` of {self.path} is not UTF-8: {error}.") from error

    def _own(self, name: str, kind: type) -> h5py.Group | h5py.Dataset:
        """The object at a path that is made of plain links inside this file."""
        node = self._file
        for part in name.split("/"):
            link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
            if link is None:
                raise LawmError(f"{self.path} has no `/{name}`. {REMAKE}")
            if not isinstance(link, h5py.HardLink):
                raise LawmError(
                    f"`/{name}` of {self.path} is reached by a link ({type(link).__name__}), and "
                    "links are not followed. Copy the data itself into the file."
                )
            node = node[part]
        if not isinstance(node, kind):
            raise LawmError(
                f"`/{name}` of {self.path} is a {type(node).__name__}, expected a {kind.__name__}. "
                f"{REMAKE}"
            )
        return node

    def _checked(
        self, name: str, dataset: h5py.Dataset, dtype: DTypeLike, shape: Shape
    ) -> NDArray[Any]:
        where = f"`/{name}` of {self.path}"
        if dataset.dtype != dtype:
            raise LawmError(f"{where} has type {dataset.dtype}, expected {dtype}. {REMAKE}")
        if not _fits(dataset.shape, shape):
            expected = ", ".join("any" if size is ... else str(size) for size in shape)
            raise LawmError(f"{where} has shape {dataset.shape}, expected ({expected}). {REMAKE}")
        if dataset.is_virtual or dataset.external:
            raise LawmError(f"{where} keeps its data in other files. Copy it into the shard.")
        if not _is_fully_stored(dataset):
            raise LawmError(f"{where} was declared and never fully written. {REMAKE}")
        try:
            values: NDArray[Any] = dataset[()]
        except OSError as error:
            raise LawmError(f"{where} is unreadable: {error}. {REMAKE}") from error
        if self.verify:
            found, stated = checksum(values), self._stated_checksum(name)
            if found != stated:
                raise LawmError(
                    f"{where} is damaged: its SHA-256 is {found[:12]}…, expected {stated[:12]}…. "
                    "Copy the file again from where it came."
                )
        return values

    def _stated_checksum(self, name: str) -> str:
        value = self._own(name, h5py.Dataset).attrs.get("sha256")
        if not isinstance(value, str):
            raise LawmError(f"`/{name}` of {self.path} has no attribute `sha256`. {REMAKE}")
        return value


def checksum(values: NDArray[Any]) -> str:
    """SHA-256 of an array's bytes in C order, as hex."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _fits(found: tuple[int, ...] | None, expected: Shape) -> bool:
    if found is None or len(found) != len(expected):
        return False
    return all(want is ... or have == want for have, want in zip(found, expected, strict=True))


def _is_fully_stored(dataset: h5py.Dataset) -> bool:
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() == dataset.nbytes)
    sizes = zip(dataset.shape, dataset.chunks, strict=True)
    return bool(
        dataset.id.get_num_chunks() == np.prod([-(-size // chunk) for size, chunk in sizes])
    )


def _why_it_does_not_open(path: Path, error: OSError) -> str:
    text = str(error)
    if isinstance(error, PermissionError):
        return f"{path} may not be read: permission denied."
    if "truncated file" in text:
        size = path.stat().st_size
        return f"{path} is truncated: it ends after {size} bytes. Copy it again from its source."
    if "file signature not found" in text:
        return f"{path} is not an HDF5 file. Import another format with `lawm data import`."
    if "already open for write" in text or "unable to lock file" in text:
        return f"{path} is being written by another program, or its writer was killed. {REMAKE}"
    return f"{path} cannot be opened as HDF5: {text}."


__all__ = ["REMAKE", "ShardFile", "checksum"]
