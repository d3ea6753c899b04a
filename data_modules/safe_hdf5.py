"""Guarded access to an HDF5 file from anywhere: nothing is followed out of it, nothing unpickled.

Soft and external links are not followed; virtual datasets, external storage and object types
(references, pickles) are refused, and so is storage that was declared and never written, which
HDF5 would read as zeros. A size that a file declares is checked before anything is allocated. What
the library itself does not survive is found by :mod:`lawm.data_modules.structure_probe`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py

from lawm.data_modules.closing import Closing
from lawm.data_modules.safe_dataset import SafeDataset
from lawm.data_modules.structure_probe import PROBE
from lawm.errors import LawmError

MAX_CHILDREN = 1_000_000  # of one group
MAX_KEPT_OPEN = 32  # objects: those of a shard, and few of a file with a group an episode


class SafeHdf5(Closing):
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
        if not path.is_file():
            raise LawmError(f"{path} is a pipe or a device; expected an HDF5 file.")
        PROBE.check(path, advice)
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError, ValueError) as error:
            raise LawmError(why_it_does_not_open(path, error, advice)) from error
        self._opened: dict[str, Any] = {}  # objects that were reached, by their path

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
        return SafeDataset(self.path, name, node, self.advice)

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


__all__ = ["SafeHdf5", "is_hdf5", "natural_order", "why_it_does_not_open"]
