"""A dataset of an HDF5 file from anywhere: checked when opened, and read in bounded pieces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # at once: 10,000 frames of 360 x 360 x 3
MAX_CHUNK_BYTES = 1 << 30  # HDF5 unpacks a whole chunk to read one row of it


class SafeDataset:
    """A dataset whose bytes all lie in its file and were all written.

    Args:
        path: The file that holds it.
        name: Its path in the file, without the first slash.
        dataset: As h5py has it.
        advice: What a message about damage ends with; a sentence.

    Raises:
        LawmError: The data lie elsewhere, were never fully written, are pickles or references, or
            are stored in chunks too large to unpack.
    """

    def __init__(self, path: Path, name: str, dataset: h5py.Dataset, advice: str) -> None:
        self.where = f"`/{name}` of {path}"
        self._path, self._advice, self._dataset = path, advice, dataset
        try:
            self.shape: tuple[int, ...] = tuple(dataset.shape or ())
            self.dtype: np.dtype[Any] = dataset.dtype
            elsewhere = dataset.is_virtual or bool(dataset.external)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise LawmError(f"{self.where} is unreadable: {error}. {self._advice}") from error
        if elsewhere:
            raise LawmError(f"{self.where} keeps its data in other files. Copy it into the file.")
        self.element: np.dtype[Any] | None = h5py.check_vlen_dtype(self.dtype)
        is_text = h5py.check_string_dtype(self.dtype) is not None
        if self.dtype.kind == "O" and self.element is None and not is_text:
            raise LawmError(f"{self.where} holds references or objects, which are not followed.")
        self._refuse_absurd_storage()

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk; 1 where the rows lie in one piece."""
        return self._dataset.chunks[0] if self._dataset.chunks else 1

    @property
    def chunk_bytes(self) -> int:
        """Bytes of an unpacked chunk; 0 where the rows lie in one piece."""
        return math.prod(self._dataset.chunks or (0,)) * self.dtype.itemsize

    @property
    def file_offset(self) -> int | None:
        """Where the rows begin in the file if they lie there in one piece; else None."""
        is_contiguous = self._dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        offset = self._dataset.id.get_offset() if is_contiguous else None
        return None if offset is None else int(offset)

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[1:]

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0] if self.shape else 0

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` (to the end by default); a scalar as it is.

        Raises:
            LawmError: The rows are damaged or more than :data:`MAX_READ_BYTES`.
        """
        stop = len(self) if stop is None else stop
        num = max(0, stop - start) if self.shape else 1
        size = num * math.prod(self.step_shape) * self.dtype.itemsize
        if size > MAX_READ_BYTES:
            raise LawmError(
                f"{self.where} declares {num} rows of {size / 2**30:.1f} GiB to be read at once; "
                f"expected {MAX_READ_BYTES >> 30} GiB at most. Split it into shorter episodes."
            )
        try:
            values: NDArray[Any] = np.asarray(
                self._dataset[start:stop] if self.shape else self._dataset[()]
            )
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise LawmError(f"{self.where} is unreadable: {error}. {self._advice}") from error
        return values

    def texts(self) -> list[str]:
        """All elements as texts."""
        values = self.read().reshape(-1)
        return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]

    def _refuse_absurd_storage(self) -> None:
        dataset, chunks = self._dataset, self._dataset.chunks
        size = math.prod(self.shape) * self.dtype.itemsize
        try:
            if chunks is None:
                offset = self.file_offset
                stored = dataset.id.get_storage_size() >= size
                # get_offset counts from the start of the file, a user block included
                if offset is not None and offset + size > self._path.stat().st_size:
                    stored = False
            else:
                sides = zip(self.shape, chunks, strict=True)
                expected = math.prod(-(-side // chunk) for side, chunk in sides)
                stored = dataset.id.get_num_chunks() >= expected
        except (OSError, RuntimeError, ValueError) as error:
            raise LawmError(f"{self.where} is unreadable: {error}. {self._advice}") from error
        if not stored:
            raise LawmError(
                f"{self.where} was declared with shape {self.shape} and never fully written. "
                f"{self._advice}"
            )
        if self.chunk_bytes > MAX_CHUNK_BYTES:
            raise LawmError(
                f"{self.where} is stored in chunks of {self.chunk_bytes / 2**30:.1f} GiB; expected "
                f"{MAX_CHUNK_BYTES >> 30} GiB at most. Write it anew in smaller chunks."
            )


__all__ = ["MAX_CHUNK_BYTES", "MAX_READ_BYTES", "SafeDataset"]
