"""Arrays of a shard that grow episode by episode without being held in memory.

States, actions and rewards must lie in one piece, whose length HDF5 wants to know first: their
rows wait in a temporary file without a name, which vanishes with the process. Images lie in
compressed chunks and go straight into the shard that is being made.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.shard_format import fixed_text

IN_MEMORY = 16 << 20  # bytes of rows that wait in memory before a file is made for them
COPY_BYTES = 16 << 20  # at a time
IMAGE_CHUNK = 10  # frames: a window of 32 touches four or five chunks


class SpooledArray:
    """Rows of numbers that become one contiguous dataset.

    Args:
        folder: Where the temporary file is made, on the disk of the shard.
        dtype: Of the numbers.
        step_shape: Of one row.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any], step_shape: tuple[int, ...]) -> None:
        self.dtype, self.step_shape = dtype, step_shape
        self.num_rows = 0
        self._digest = hashlib.sha256()
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY, dir=str(folder)
        )

    @property
    def num_bytes(self) -> int:
        """Of the dataset."""
        return self.num_rows * self.dtype.itemsize * int(np.prod(self.step_shape))

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows (n, *step_shape)."""
        assert rows.dtype == self.dtype and rows.shape[1:] == self.step_shape
        data = np.ascontiguousarray(rows).tobytes()
        self._digest.update(data)
        self._file.write(data)
        self.num_rows += len(rows)

    def append_nan(self, num: int) -> None:
        """Add rows that are absent."""
        self.append(np.full((num, *self.step_shape), np.nan, self.dtype))

    def write(self, file: h5py.File, name: str) -> None:
        """Make the dataset, with its checksum."""
        dataset = file.create_dataset(name, (self.num_rows, *self.step_shape), self.dtype)
        row_bytes = self.dtype.itemsize * int(np.prod(self.step_shape))
        self._file.seek(0)
        at_once = max(1, COPY_BYTES // max(1, row_bytes))
        for start in range(0, self.num_rows if row_bytes else 0, at_once):
            num = min(at_once, self.num_rows - start)
            rows = np.frombuffer(self._file.read(num * row_bytes), self.dtype)
            dataset[start : start + num] = rows.reshape(num, *self.step_shape)
        dataset.attrs["sha256"] = fixed_text(self._digest.hexdigest())

    def close(self) -> None:
        """Give the temporary file back."""
        self._file.close()


class ChunkedImages:
    """Frames that go into a dataset of compressed chunks, a whole chunk at a time.

    Args:
        file: The shard that is being made.
        name: Of the dataset.
        step_shape: (H, W, C).
    """

    def __init__(self, file: h5py.File, name: str, step_shape: tuple[int, ...]) -> None:
        self._dataset = file.create_dataset(
            name,
            (0, *step_shape),
            np.uint8,
            maxshape=(None, *step_shape),
            chunks=(IMAGE_CHUNK, *step_shape),
            compression="gzip",
            compression_opts=1,
        )
        self._digest = hashlib.sha256()
        self._waiting = np.empty((0, *step_shape), np.uint8)

    def append(self, frames: NDArray[np.uint8]) -> None:
        """Add frames (n, H, W, C)."""
        self._digest.update(np.ascontiguousarray(frames).tobytes())
        rows = np.concatenate([self._waiting, frames])
        whole = len(rows) - len(rows) % IMAGE_CHUNK
        self._write(rows[:whole])
        self._waiting = rows[whole:].copy()

    def finish(self) -> None:
        """Write what does not fill a chunk, and the checksum."""
        self._write(self._waiting)
        self._dataset.attrs["sha256"] = fixed_text(self._digest.hexdigest())

    def _write(self, frames: NDArray[np.uint8]) -> None:
        start = len(self._dataset)
        self._dataset.resize(start + len(frames), axis=0)
        self._dataset[start:] = frames


__all__ = ["ChunkedImages", "SpooledArray"]
