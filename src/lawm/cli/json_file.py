"""The file of `--json FILE`."""

from __future__ import annotations

import json
from pathlib import Path

from lawm.atomic_write import write_atomically
from lawm.errors import LawmError


def check_json_path(path: Path) -> None:
    """Fail before the work rather than after.

    Raises:
        LawmError: The file ends otherwise, and may hold something else, or is in no folder.
    """
    if path.suffix != ".json":
        raise LawmError(
            f"--json {path}: expected a file that ends in .json; it would be written over."
        )
    if not path.parent.exists():
        raise LawmError(f"--json {path}: the folder {path.parent} does not exist.")
    if not path.parent.is_dir():
        raise LawmError(f"--json {path}: {path.parent} is in the way, a file; expected a folder.")
    if path.is_dir():
        raise LawmError(f"--json {path} is a folder; expected a file.")


def write_json(path: Path, content: object) -> None:
    """Write the file as a whole, over one of before."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


__all__ = ["check_json_path", "write_json"]
