"""Guarded access to numpy archives (.npz): no pickles, nothing allocated that the file cannot fill.

The rows of an array are read one after the other, so that an archive may be larger than memory.
What a member declares is compared with what the archive holds of it before anything is allocated.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lawm.data_modules.closing import Closing
from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # at once
MAX_RATIO = 1100  # deflate shrinks 1032 times at most
MAX_MEMBERS = 10_000
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes
FAULTS = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)
# What numpy raises for a header that is no literal
HEADER_FAULTS = (RuntimeError, SyntaxError, TypeError, RecursionError, MemoryError, TokenError)
ADVICE = "Copy the file again from its source."


class SafeNpz(Closing):
    """An open numpy archive; a context manager.

    Args:
        path: The ``.npz`` file.

    Raises:
        LawmError: The file is missing, no archive or damaged, or a member declares more than it
            holds; every method raises it too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise LawmError(f"There is no file {path}. Check the path of the archive to import.")
        if not zipfile.is_zipfile(path):
            raise LawmError(f"{path} is not a numpy archive (.npz), or it is truncated.")
        try:
            self._zip = zipfile.ZipFile(path)
        except (*FAULTS, RuntimeError) as error:
            raise LawmError(f"{path} cannot be read as a numpy archive: {error}.") from error
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            self._zip.close()
            raise LawmError(f"{path} has {len(members)} members; expected {MAX_MEMBERS} at most.")
        self._members = {m.filename.removesuffix(".npy"): m for m in members}

    def close(self) -> None:
        """See :class:`Closing`."""
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in the order of the archive."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        """Whether there is such an array."""
        return name in self._members

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of an array, without reading it."""
        with self.rows(name) as rows:
            return rows.shape, rows.dtype

    def array(self, name: str) -> NDArray[Any]:
        """A whole array."""
        with self.rows(name) as rows:
            return rows.all()

    def rows(self, name: str) -> NpzRows:
        """An array to be read from its first row to its last; a context manager."""
        if name not in self._members:
            raise LawmError(f"{self.path} has no array `{name}`; it holds {sorted(self._members)}.")
        return NpzRows(self.path, self._zip, self._members[name], name)


class NpzRows(Closing):
    """One array of an archive, read row by row from the first to the last."""

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str
    ) -> None:
        self.where = f"`{name}` of {path}"
        _refuse_absurd_member(self.where, member, path.stat().st_size)
        try:
            self._stream: IO[bytes] = archive.open(member)
        except (*FAULTS, RuntimeError) as error:
            raise LawmError(
                f"{path} cannot be read as a numpy archive: {self.where}: {error}."
            ) from error
        try:
            self._read_header(path, member)
        except LawmError:
            self._stream.close()
            raise
        self._row = 0

    def _read_header(self, path: Path, member: zipfile.ZipInfo) -> None:
        try:
            version = npy.read_magic(self._stream)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            if version not in read:
                raise ValueError(f"version {version} of the npy format is not known")
            shape, self._by_columns, dtype = read[version](self._stream)
        except (*FAULTS, *HEADER_FAULTS) as error:
            raise LawmError(
                f"{path} cannot be read as a numpy archive: {self.where} has no valid header: "
                f"{error}."
            ) from error
        self.shape: tuple[int, ...] = tuple(int(side) for side in shape)
        self.dtype: np.dtype[Any] = dtype
        if dtype.hasobject:
            raise LawmError(f"{self.where} holds pickled Python objects, which are not read.")
        declared = math.prod(self.shape) * dtype.itemsize
        held = member.file_size - self._stream.tell()
        if min(self.shape, default=0) < 0 or declared != held:
            raise LawmError(
                f"{self.where} declares {dtype} of shape {self.shape}, that is {declared} bytes, "
                f"but holds {held}. {ADVICE}"
            )

    def close(self) -> None:
        """See :class:`Closing`."""
        self._stream.close()

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0] if self.shape else 0

    def read(self, num: int) -> NDArray[Any]:
        """The next rows.

        Args:
            num: How many; there must be as many left.
        """
        assert 0 <= num <= len(self) - self._row, (num, self._row, self.shape)
        if self._by_columns and len(self.shape) > 1:  # its rows lie scattered: all or nothing
            if self._row == 0:
                self._whole = self._take(self.shape, "F")
            rows = self._whole[self._row : self._row + num]
        else:
            rows = self._take((num, *self.shape[1:]), "C")
        self._row += num
        return rows

    def all(self) -> NDArray[Any]:
        """The whole array; nothing may have been read before."""
        assert self._row == 0
        return self.read(len(self)) if self.shape else self._take((), "C")

    def _take(self, shape: tuple[int, ...], order: str) -> NDArray[Any]:
        size = math.prod(shape) * self.dtype.itemsize
        if size > MAX_READ_BYTES:
            raise LawmError(
                f"{self.where} has {size / 2**30:.1f} GiB to be read at once; expected "
                f"{MAX_READ_BYTES >> 30} GiB at most. Split it into shorter episodes."
            )
        try:
            data = self._stream.read(size)
        except (*FAULTS, RuntimeError, MemoryError) as error:
            raise LawmError(f"{self.where} is damaged: {error}. {ADVICE}") from error
        if len(data) != size:
            raise LawmError(f"{self.where} ends too early: it is truncated. {ADVICE}")
        flat = np.frombuffer(data, dtype=self.dtype)
        return flat.reshape(shape, order="F" if order == "F" else "C")


def is_zip(path: Path) -> bool:
    """Whether a file begins as a numpy archive does; its end may be missing."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _refuse_absurd_member(where: str, member: zipfile.ZipInfo, archive_size: int) -> None:
    if member.flag_bits & 0x1:
        raise LawmError(f"{where} is encrypted. Write the archive anew with numpy.savez.")
    if member.compress_type not in COMPRESSIONS:
        raise LawmError(f"{where} is compressed in a way that numpy does not write.")
    limit = 1 if member.compress_type == zipfile.ZIP_STORED else MAX_RATIO
    if member.compress_size > archive_size or member.file_size > limit * member.compress_size + 64:
        raise LawmError(
            f"{where} declares {member.file_size} bytes out of {member.compress_size} in an "
            f"archive of {archive_size}: no archive of numpy's can hold that. {ADVICE}"
        )


__all__ = ["NpzRows", "SafeNpz", "is_zip"]
