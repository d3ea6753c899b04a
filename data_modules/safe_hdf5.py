"""Guarded access to an HDF5 file from anywhere: nothing is followed out of it, nothing unpickled.

Soft and external links are not followed; virtual datasets, external storage and object types
(references, pickles) are refused, and so is storage that was declared and never written, which
HDF5 would read as zeros. A size that a file declares is checked before anything is allocated.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.attribute_heap import lies_in_heap, try_heap
from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # at once: 10,000 frames of 360 x 360 x 3
MAX_CHUNK_BYTES = 1 << 30  # HDF5 unpacks a whole chunk to read one row of it
MAX_CHILDREN = 1_000_000  # of one group
MAX_KEPT_OPEN = 32  # objects: those of a shard, and few of a file with a group an episode


class SafeHdf5:
    """An open HDF5 file whose parts are checked as they are taken; a context manager.

    Args:
        path: The file.
        advice: What every message about a faulty part ends with; a sentence.

    Raises:
        LawmError: The file is missing or cannot be opened as HDF5; every method raises it too.
    """

    def __init__(self, path: Path, advice: str = "Copy the file again from its source.") -> None:
        self.path, self.advice = path, advice
        if not path.exists():
            raise LawmError(f"There is no file {path}. Check the path.")
        if path.is_dir():
            raise LawmError(f"{path} is a folder; expected an HDF5 file.")
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError, ValueError) as error:
            raise LawmError(why_it_does_not_open(path, error, advice)) from error
        self._heap_is_sound = False
        self._opened: dict[str, Any] = {}  # objects that were reached, by their path

    def __enter__(self) -> SafeHdf5:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.clear()
        self._file.close()

    def has(self, name: str) -> bool:
        """Whether plain links inside the file lead to a group or dataset of this name."""
        node: Any = self._file
        for part in name.split("/"):
            if not isinstance(node, h5py.Group) or not self._is_own(node, part):
                return False
            node = self._open(node, part, name)
        return isinstance(node, h5py.Group | h5py.Dataset)

    def groups(self, name: str = "") -> list[str]:
        """The groups directly in a group, by name in natural order (``demo_2`` before ``demo_10``).

        Args:
            name: The group that is looked into; empty for the file itself.
        """
        return self._children(name, h5py.Group)

    def datasets(self, name: str = "") -> list[str]:
        """The datasets directly in a group, by name in natural order."""
        return self._children(name, h5py.Dataset)

    def names(self, name: str = "") -> list[str]:
        """Everything directly in a group, links included, sorted."""
        group = self._own(name)
        if not isinstance(group, h5py.Group):
            raise LawmError(
                f"`/{name}` of {self.path} is a {type(group).__name__}, expected a Group. "
                f"{self.advice}"
            )
        try:
            if len(group) > MAX_CHILDREN:
                raise LawmError(
                    f"`/{name}` of {self.path} has {len(group)} members; expected {MAX_CHILDREN} "
                    f"at most. {self.advice}"
                )
            names = sorted(group)
            for part in names:
                part.encode()
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise LawmError(
                f"`/{name}` of {self.path} is unreadable: {error}. {self.advice}"
            ) from error
        return names

    def is_group(self, name: str) -> bool:
        """Whether there is a group of this name, reached by plain links."""
        return self.has(name) and isinstance(self._own(name), h5py.Group)

    def is_dataset(self, name: str) -> bool:
        """Whether there is a dataset of this name, reached by plain links."""
        return self.has(name) and isinstance(self._own(name), h5py.Dataset)

    def attribute(self, attribute: str, name: str = "") -> Any:  # noqa: ANN401
        """An attribute of a group or dataset (of the file where ``name`` is empty), else None."""
        node = self._own(name)
        try:
            if not self._heap_is_sound and lies_in_heap(node, attribute):
                try_heap(self.path, self.advice)
                self._heap_is_sound = True
            value = node.attrs.get(attribute)
        except (OSError, TypeError, ValueError, RuntimeError, KeyError) as error:
            raise LawmError(
                f"Attribute `{attribute}` of `/{name}` in {self.path} is unreadable: {error}."
            ) from error
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def dataset(self, name: str) -> SafeDataset:
        """A dataset whose bytes all lie in this file."""
        node = self._own(name)
        if not isinstance(node, h5py.Dataset):
            raise LawmError(
                f"`/{name}` of {self.path} is a {type(node).__name__}, expected a Dataset. "
                f"{self.advice}"
            )
        return SafeDataset(self, name, node)

    def _own(self, name: str) -> Any:  # noqa: ANN401
        """The object at a path that is made of plain links inside this file."""
        if name in self._opened:
            return self._opened[name]
        node: Any = self._file
        for part in name.split("/") if name else []:
            link = self._link(node, part) if isinstance(node, h5py.Group) else None
            if link is None:
                raise LawmError(f"{self.path} has no `/{name}`. {self.advice}")
            if not isinstance(link, h5py.HardLink):
                raise LawmError(
                    f"`/{name}` of {self.path} is reached by a link ({type(link).__name__}), and "
                    "links are not followed. Copy the data itself into the file."
                )
            node = self._open(node, part, name)
        if len(self._opened) < MAX_KEPT_OPEN:
            self._opened[name] = node
        return node

    def _link(self, group: h5py.Group, part: str) -> Any:  # noqa: ANN401
        try:
            return group.get(part, getlink=True)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise LawmError(
                f"`{part}` of {self.path} is unreadable: {error}. {self.advice}"
            ) from error

    def _is_own(self, group: h5py.Group, part: str) -> bool:
        return isinstance(self._link(group, part), h5py.HardLink)

    def _open(self, group: h5py.Group, part: str, name: str) -> Any:  # noqa: ANN401
        try:
            return group[part]
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise LawmError(
                f"`/{name}` of {self.path} is unreadable: {error}. {self.advice}"
            ) from error

    def _children(self, name: str, kind: type) -> list[str]:
        group = self._own(name)
        names = self.names(name)
        own = [part for part in names if self._is_own(group, part)]
        kinds = {part: type(self._open(group, part, f"{name}/{part}")) for part in own}
        return natural_order([part for part in own if issubclass(kinds[part], kind)])


class SafeDataset:
    """A dataset whose bytes all lie in its file and were all written.

    Args:
        file: The file that holds it.
        name: Its path in the file, without the first slash.
        dataset: As h5py has it.

    Raises:
        LawmError: The data lie elsewhere, were never fully written, are pickles or references, or
            are stored in chunks too large to unpack.
    """

    def __init__(self, file: SafeHdf5, name: str, dataset: h5py.Dataset) -> None:
        self.where = f"`/{name}` of {file.path}"
        self._path, self._advice, self._dataset = file.path, file.advice, dataset
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


def natural_order(names: list[str]) -> list[str]:
    """Sorted so that numbers inside the names count as numbers: ``demo_2`` before ``demo_10``."""

    def key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        # Digits beyond int()'s limit of 4300 are compared as text
        return [
            (True, int(p), "") if p[0] in "0123456789" and len(p) < 4000 else (False, 0, p)
            for p in parts
        ], name

    return sorted(names, key=key)


def why_it_does_not_open(path: Path, error: Exception, advice: str) -> str:
    """The reason why h5py could not open a file, as a sentence that names it."""
    text = str(error)
    if isinstance(error, PermissionError):
        return f"{path} may not be read: permission denied."
    if "truncated file" in text:
        size = path.stat().st_size
        return f"{path} is truncated: it ends after {size} bytes. Copy it again from its source."
    if "file signature not found" in text:
        return f"{path} is not an HDF5 file. Import another format with `lawm data import`."
    if "already open for write" in text or "unable to lock file" in text:
        return f"{path} is being written by another program, or its writer was killed. {advice}"
    return f"{path} cannot be opened as HDF5: {text}."


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do (or after the user block that some writers put)."""
    try:
        return path.is_file() and bool(h5py.is_hdf5(path))
    except (OSError, RuntimeError):
        return False


__all__ = ["SafeDataset", "SafeHdf5", "is_hdf5", "natural_order", "why_it_does_not_open"]
