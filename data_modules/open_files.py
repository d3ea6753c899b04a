"""Open files, some at a time, each process its own."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

MAX_OPEN = 128  # at a time; there may be thousands of shards, and a process has 1024 files or so

Handle = TypeVar("Handle")


class OpenFiles(Generic[Handle]):
    """The files that were used last, opened where they are needed.

    Every process has its own: a fork opens its files anew and leaves those of its parent alone,
    and nothing open travels to a spawned one.

    Args:
        open_file: Opens one.
        close: Closes it.
    """

    def __init__(
        self, open_file: Callable[[Path], Handle], close: Callable[[Handle], object]
    ) -> None:
        self._open_file, self._close = open_file, close
        self._of_process = os.getpid()
        self._files: OrderedDict[Path, Handle] = OrderedDict()
        self._of_parent: list[OrderedDict[Path, Handle]] = []

    def get(self, path: Path) -> Handle:
        """The open file."""
        if self._of_process != os.getpid():
            self._of_parent.append(self._files)  # kept, for closing them is the parent's business
            self._files, self._of_process = OrderedDict(), os.getpid()
        if path in self._files:
            self._files.move_to_end(path)
        else:
            if len(self._files) >= MAX_OPEN:
                self._close(self._files.popitem(last=False)[1])
            self._files[path] = self._open_file(path)
        return self._files[path]

    def __del__(self) -> None:
        if self._of_process == os.getpid():
            for handle in self._files.values():
                self._close(handle)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_of_parent": []}


__all__ = ["OpenFiles"]
