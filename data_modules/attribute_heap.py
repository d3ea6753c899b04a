"""Attributes of variable length, which lie in a heap of an HDF5 file that can be a trap.

Where the heap is damaged, the HDF5 library may search it without end. Nothing in this process can
stop it then, so a file with such attributes is first read by another one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py

from lawm.errors import LawmError

HEAP_SECONDS = 10.0  # to read all attributes


def lies_in_heap(node: Any, attribute: str) -> bool:  # noqa: ANN401
    """Whether an attribute is of variable length, and so kept apart from its object."""
    if attribute not in node.attrs:
        return False
    kind = node.attrs.get_id(attribute).get_type()
    if isinstance(kind, h5py.h5t.TypeStringID):
        return bool(kind.is_variable_str())
    return bool(kind.detect_class(h5py.h5t.VLEN))


def try_heap(path: Path, advice: str) -> None:
    """Read all attributes in a process of its own.

    Texts of variable length lie in a heap of the file; if that is damaged, the HDF5 library may
    search it without end.

    Raises:
        LawmError: The process failed, or was not ready in time.
    """
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1]); dict(file.attrs); "
        "file.visititems(lambda _, node: dict(node.attrs) and None)"
    )
    command = [sys.executable, "-c", code, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=HEAP_SECONDS, check=False)
        is_sound = done.returncode == 0
    except subprocess.TimeoutExpired:
        is_sound = False
    if not is_sound:
        raise LawmError(f"The attributes of {path} are damaged and unreadable. {advice}")


__all__ = ["lies_in_heap", "try_heap"]
