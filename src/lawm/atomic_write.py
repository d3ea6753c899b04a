"""Files that are there whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MARK = ".tmp-"  # .NAME.tmp-PID beside the file, until it takes the file's place


@contextmanager
def atomic_file(path: Path, previous: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` once it is on the disk.

    Args:
        path: Where it goes; its folder is made if need be.
        previous: What was there before is kept here. A process killed between the two renames
            leaves `previous` and no `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{_MARK}{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file, see :func:`atomic_file`."""
    with atomic_file(path) as file:
        file.write(text.encode())


def is_leftover(path: Path) -> bool:
    """Whether the file is what a killed writer left behind."""
    return path.name.startswith(".") and _MARK in path.name


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left anywhere in the folder; no writer may be alive."""
    for path in folder.rglob(f".*{_MARK}*"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the renames last through a power failure, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["atomic_file", "is_leftover", "remove_leftovers", "write_atomically"]
