"""Where windows of rows come from: tensors in memory, places in files, or datasets of shards.

All give the same numbers. A source knows which rows an episode has, and nothing of labels or
batches; what is hidden is never asked of it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.data_modules.open_files import OpenFiles
from lawm.data_modules.safe_dataset import SafeDataset
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError


class RowSource(Protocol):
    """Rows of E episodes, by the name of the array: ``obs/<key>``, ``action`` or ``reward``."""

    def windows(
        self, name: str, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int
    ) -> Tensor:
        """Rows ``steps`` to ``steps + count`` of some episodes.

        Args:
            name: Of the array.
            episodes: (n,) numbers.
            steps: (n,) first row of each window in its episode.
            count: Rows of a window; they lie within the episode.

        Returns:
            (n, count, *shape) that the caller may change.
        """
        ...

    def span(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` of all episodes end to end, (stop - start, *shape)."""
        ...


@dataclass(frozen=True, eq=False)
class MemoryRows:
    """Tensors (N, *shape) with the rows of the episodes end to end."""

    tensors: dict[str, Tensor]
    offset: NDArray[np.int64]  # (E + 1,)

    def windows(
        self, name: str, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int
    ) -> Tensor:
        """See :class:`RowSource`."""
        values = self.tensors[name]
        first = torch.from_numpy(self.offset[episodes] + steps)
        rows = (first[:, None] + torch.arange(count)).flatten()
        return values.index_select(0, rows).view(len(first), count, *values.shape[1:])

    def span(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """See :class:`RowSource`."""
        return self.tensors[name].numpy()[start:stop]


@dataclass(frozen=True)
class FilePlace:
    """Rows that lie end to end in a file, from this byte on."""

    path: Path
    start: int


class _Episodes(ABC):
    """Which shard an episode is in, and at which row it begins there."""

    def __init__(
        self,
        shard: NDArray[np.int64],
        first_row: NDArray[np.int64],
        offset: NDArray[np.int64],
        steps: dict[str, tuple[np.dtype[Any], tuple[int, ...]]],
    ) -> None:
        self.shard, self.first_row = shard, first_row  # (E,)
        self.offset = offset  # (E + 1,)
        self.steps = steps  # type and shape of a row, by name

    def windows(
        self, name: str, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int
    ) -> Tensor:
        """See :class:`RowSource`."""
        dtype, shape = self.steps[name]
        out = np.empty((len(episodes), count, *shape), dtype)
        rows = (self.first_row[episodes] + steps).tolist()
        for place, (shard, row) in enumerate(zip(self.shard[episodes].tolist(), rows, strict=True)):
            self._read(name, shard, row, out[place])
        return torch.from_numpy(out)

    def span(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """See :class:`RowSource`."""
        dtype, shape = self.steps[name]
        out = np.empty((stop - start, *shape), dtype)
        episode = int(np.searchsorted(self.offset, start, side="right")) - 1
        row = start
        while row < stop:
            until = min(stop, int(self.offset[episode + 1]))
            first = int(self.first_row[episode]) + row - int(self.offset[episode])
            self._read(name, int(self.shard[episode]), first, out[row - start : until - start])
            row, episode = until, episode + 1
        return out

    @abstractmethod
    def _read(self, name: str, shard: int, row: int, out: NDArray[Any]) -> None:
        """Fill ``out`` with the rows of a shard from ``row`` on."""


class MappedRows(_Episodes):
    """Rows copied from their places in uncompressed files.

    Read by ``pread`` and not through a memory map: it is as fast, what was read does not count as
    memory of the process, and a file that was cut short while it is in use is an error in words
    rather than a SIGBUS. The kernel's page cache serves all processes.

    Args:
        places: By name of the array, the place of its rows in each shard.
        shard: (E,) the shard of each episode.
        first_row: (E,) where it begins there.
        offset: (E + 1,).
        steps: Type and shape of a row, by name.
    """

    def __init__(
        self,
        places: dict[str, list[FilePlace | None]],
        shard: NDArray[np.int64],
        first_row: NDArray[np.int64],
        offset: NDArray[np.int64],
        steps: dict[str, tuple[np.dtype[Any], tuple[int, ...]]],
    ) -> None:
        super().__init__(shard, first_row, offset, steps)
        self._places = places
        self._row_bytes = {
            name: dtype.itemsize * int(np.prod(shape)) for name, (dtype, shape) in steps.items()
        }
        self._files: OpenFiles[int] = OpenFiles(_open_descriptor, os.close)

    def windows(
        self, name: str, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int
    ) -> Tensor:
        """See :class:`RowSource`."""
        dtype, shape = self.steps[name]
        out = np.empty((len(episodes), count, *shape), dtype)
        data, row_bytes = _bytes_of(out), self._row_bytes[name]
        size, end = count * row_bytes, 0
        shards, last = self.shard[episodes].tolist(), -1
        positions = ((self.first_row[episodes] + steps) * row_bytes).tolist()
        for shard, position in zip(shards, positions, strict=True):
            if shard != last:  # opening one may close another
                place, descriptor = self._file(name, shard)
                last = shard
            begin, end = end, end + size
            _read_fully(place, descriptor, position, data[begin:end])
        return torch.from_numpy(out)

    def _read(self, name: str, shard: int, row: int, out: NDArray[Any]) -> None:
        data = _bytes_of(out)
        _read_fully(*self._file(name, shard), row * self._row_bytes[name], data)

    def _file(self, name: str, shard: int) -> tuple[FilePlace, int]:
        place = self._places[name][shard]
        assert place is not None, (name, shard)
        return place, self._files.get(place.path)


def _bytes_of(values: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array, to be written."""
    flat: Any = values.reshape(-1).view(np.uint8)
    return memoryview(flat)


def _read_fully(place: FilePlace, descriptor: int, position: int, data: memoryview) -> None:
    """Fill ``data`` from the bytes at ``position`` behind the start of the rows."""
    position += place.start
    while data:
        try:
            num = os.preadv(descriptor, [data], position)
        except OSError as error:
            raise LawmError(f"{place.path} cannot be read any more: {error}.") from error
        if num == len(data):
            return
        if num == 0:
            raise LawmError(
                f"{place.path} ends before byte {position}: it was changed while it was in use. "
                "Start again."
            )
        data, position = data[num:], position + num


class StreamedRows(_Episodes):
    """Rows read from the datasets of shards, compressed chunks unpacked on the way.

    Args:
        paths: The shards.
        shard: (E,) the shard of each episode.
        first_row: (E,) where it begins there.
        offset: (E + 1,).
        steps: Type and shape of a row, by name.
    """

    def __init__(
        self,
        paths: list[Path],
        shard: NDArray[np.int64],
        first_row: NDArray[np.int64],
        offset: NDArray[np.int64],
        steps: dict[str, tuple[np.dtype[Any], tuple[int, ...]]],
    ) -> None:
        super().__init__(shard, first_row, offset, steps)
        self._paths = paths
        self._files: OpenFiles[_Datasets] = OpenFiles(_Datasets, _Datasets.close)

    def _read(self, name: str, shard: int, row: int, out: NDArray[Any]) -> None:
        values = self._files.get(self._paths[shard]).get(name).read(row, row + len(out))
        if values.shape != out.shape or values.dtype != out.dtype:
            raise LawmError(f"{self._paths[shard]} was changed while it was in use. Start again.")
        out[...] = values


class _Datasets:
    """The datasets of an open shard, each opened when it is needed."""

    def __init__(self, path: Path) -> None:
        self._file = SafeHdf5(path)
        self._open: dict[str, SafeDataset] = {}

    def get(self, name: str) -> SafeDataset:
        if name not in self._open:
            self._open[name] = self._file.dataset(name)
        return self._open[name]

    def close(self) -> None:
        self._file.close()


def _open_descriptor(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise LawmError(f"{path} cannot be read any more: {error}.") from error


__all__ = ["FilePlace", "MappedRows", "MemoryRows", "RowSource", "StreamedRows"]
