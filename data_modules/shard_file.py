"""The HDF5 file of a shard, whose parts are checked before they are read.

:mod:`lawm.data_modules.safe_hdf5` follows nothing out of the file. On top of that a shard has fixed
names, types and shapes, sizes that fit the file's own size, and a SHA-256 of every dataset.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.closing import Closing
from lawm.data_modules.safe_dataset import SafeDataset
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

REMAKE = "Write it anew with `lawm data collect` or `lawm data import`."
OBSERVATION_RANK = {np.dtype(np.float32): 2, np.dtype(np.uint8): 4}  # (N, D) and (N, H, W, C)

BLOCK_BYTES = 16 << 20  # read at a time where a whole array is gone through
MAX_CHUNK_BYTES = 64 << 20
MAX_EXPANSION = 1100  # deflate packs at best 1 : 1032, so more than that is no honest data

Shape = tuple[int | EllipsisType, ...]  # `...` stands for any one size


class ShardArray:
    """A dataset of a shard that can be read in parts.

    Args:
        path: The shard.
        name: Of the dataset, without the first slash.
        data: The dataset.
        checksum: SHA-256 that the file states of it.
    """

    def __init__(self, path: Path, name: str, data: SafeDataset, checksum: str) -> None:
        self.path, self.name, self.checksum = path, name, checksum
        self.shape, self.dtype = data.shape, data.dtype
        self.file_offset = data.file_offset  # bytes from the start of the file; None if in chunks
        self._data = data

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, unpacked."""
        return int(np.prod(self.step_shape)) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows, unpacked."""
        return self.shape[0] * self.row_bytes

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop``, to the end by default.

        Raises:
            LawmError: They are damaged.
        """
        return self._data.read(start, stop)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows, some megabytes at a time: the number of the first row, and the rows."""
        per_block = max(1, BLOCK_BYTES // max(1, self.row_bytes))
        per_block = -(-per_block // self._data.chunk_rows) * self._data.chunk_rows
        for start in range(0, self.shape[0], per_block):
            yield start, self.read(start, min(start + per_block, self.shape[0]))


class ShardFile(Closing):
    """An open shard; a context manager.

    Args:
        path: The HDF5 file.

    Raises:
        LawmError: The file is missing or cannot be opened as HDF5; every method raises it too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise LawmError(
                f"There is no shard {path}. Check the path, or make one with `lawm data collect`."
            )
        if path.is_dir():
            raise LawmError(f"{path} is a folder; expected the HDF5 file of a shard.")
        self._file = SafeHdf5(path, REMAKE)
        self._names = self._file.names()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def attribute(self, name: str, of: str = "") -> object:
        """The value of an attribute, which must be there."""
        value = self.optional_attribute(name, of)
        if value is None:
            place = f"`/{of}` of {self.path}" if of else str(self.path)
            raise LawmError(f"{place} has no attribute `{name}`. {REMAKE}")
        return value

    def optional_attribute(self, name: str, of: str = "") -> object:
        """The value of an attribute, None where it is not there."""
        value: object = self._file.attribute(name, of)
        return value

    def observation_keys(self) -> list[str]:
        """The names under /obs, sorted; at least one."""
        keys = self._file.names(fmt.OBS_GROUP)
        if not keys:
            raise LawmError(f"{self.path} holds no observations: `/obs` is empty. {REMAKE}")
        return keys

    def checksums(self) -> dict[str, str]:
        """The SHA-256 that the file states of each dataset, by the dataset's name."""
        optional = ("action", "reward", "physics")
        names: list[str] = [name for name in optional if name in self._names]
        names += ["terminated", "truncated"]
        names += [f"{fmt.OBS_GROUP}/{key}" for key in self.observation_keys()]
        names += [fmt.OFFSET, fmt.HAS_ACTION, fmt.HAS_REWARD, fmt.SOURCE_ID, fmt.RETURN]
        return {name: self._stated_checksum(name) for name in names}

    def observation(self, key: str, num_rows: int) -> ShardArray:
        """(N, D) float32 or (N, H, W, C) uint8."""
        name = f"{fmt.OBS_GROUP}/{key}"
        dtype = self._file.dataset(name).dtype
        if dtype not in OBSERVATION_RANK:
            raise LawmError(
                f"`/{name}` of {self.path} has type {dtype}, expected float32 for a state "
                f"or uint8 for an image. {REMAKE}"
            )
        return self.array(name, dtype, (num_rows, *([...] * (OBSERVATION_RANK[dtype] - 1))))

    def array(self, name: str, dtype: DTypeLike, shape: Shape) -> ShardArray:
        """A dataset that must be there, of this type and shape."""
        data = self._file.dataset(name)
        where = f"`/{name}` of {self.path}"
        if data.dtype != dtype:
            raise LawmError(f"{where} has type {data.dtype}, expected {np.dtype(dtype)}. {REMAKE}")
        if not _fits(data.shape, shape):
            expected = ", ".join("any" if size is ... else str(size) for size in shape)
            raise LawmError(f"{where} has shape {data.shape}, expected ({expected}). {REMAKE}")
        array = ShardArray(self.path, name, data, self._stated_checksum(name))
        if data.chunk_bytes > MAX_CHUNK_BYTES:
            raise LawmError(
                f"{where} is stored in chunks of {data.chunk_bytes >> 20} MiB; expected "
                f"{MAX_CHUNK_BYTES >> 20} MiB at most. {REMAKE}"
            )
        if array.num_bytes > MAX_EXPANSION * self.path.stat().st_size:
            raise LawmError(
                f"{where} declares {array.num_bytes:,} bytes, which a file of "
                f"{self.path.stat().st_size:,} bytes cannot hold. {REMAKE}"
            )
        return array

    def optional(self, name: str, dtype: DTypeLike, shape: Shape) -> ShardArray | None:
        """As :meth:`array`, or None where the file has no such dataset."""
        return self.array(name, dtype, shape) if name in self._names else None

    def texts(self, name: str, num: int) -> list[str]:
        """A dataset of ``num`` fixed-length UTF-8 texts."""
        dtype = self._file.dataset(name).dtype
        if dtype.kind != "S":
            raise LawmError(
                f"`/{name}` of {self.path} has type {dtype}, expected fixed-length text. {REMAKE}"
            )
        try:
            return [bytes(value).decode() for value in self.array(name, dtype, (num,)).read()]
        except UnicodeDecodeError as error:
            raise LawmError(f"`/{name}` of {self.path} is not UTF-8: {error}.") from error

    def hashes(self, name: str) -> tuple[str, str]:
        """The SHA-256 that a small dataset has, and the one that is stated of it."""
        return checksum(self._file.dataset(name).read()), self._stated_checksum(name)

    def _stated_checksum(self, name: str) -> str:
        value = self.attribute("sha256", name)
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
            raise LawmError(
                f"`/{name}` of {self.path} has sha256 {str(value)[:80]!r}, expected 64 hexadecimal "
                f"digits. {REMAKE}"
            )
        return value


def checksum(values: NDArray[Any]) -> str:
    """SHA-256 of an array's bytes in C order, as hex."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _fits(found: tuple[int, ...], expected: Shape) -> bool:
    if len(found) != len(expected):
        return False
    return all(want is ... or have == want for have, want in zip(found, expected, strict=True))


__all__ = ["REMAKE", "ShardArray", "ShardFile", "checksum"]
