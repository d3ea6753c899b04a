"""Another Python process that finds the modules of this one, and none of the current folder."""

from __future__ import annotations

import os
import sys


def python_command(*arguments: str) -> list[str]:
    """The command of such a process; ``-P``, as a folder of data may hold modules of its own."""
    return [sys.executable, "-P", *arguments]


def import_environment() -> dict[str, str]:
    """The environment variables of this process, with its import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


__all__ = ["import_environment", "python_command"]
