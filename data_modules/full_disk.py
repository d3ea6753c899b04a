"""An HDF5 file on a full disk: found out before, and closed all the same.

Where a write fails inside the library, it fails to close the file as well, and may crash the
process later. So what will be written is compared with what is free, and a file that is given up
is cut off from the disk first.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import h5py

from lawm.errors import LawmError

HDF5_ERRORS = (OSError, RuntimeError)  # the library's
MARGIN = 1 << 20  # bytes for what is not counted


def require_space(path: Path, num_bytes: int) -> None:
    """Refuse to write beyond what the disk has.

    Args:
        path: What is written, in a folder that exists.
        num_bytes: Still to be written.

    Raises:
        LawmError: There is less space.
    """
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes + MARGIN:
        raise LawmError(
            f"{path} could not be written: {(num_bytes + MARGIN) / 1e6:.1f} MB more are needed, "
            f"and {free / 1e6:.1f} MB are free in {path.parent}. Make room, or write it elsewhere."
        )


def abandon(file: h5py.File) -> None:
    """Close a file that is not wanted, and let the library write the rest of it to nowhere."""
    if not file:
        return
    with suppress(*HDF5_ERRORS):
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(nowhere, file.id.get_vfd_handle())
        finally:
            os.close(nowhere)
        file.close()


__all__ = ["HDF5_ERRORS", "abandon", "require_space"]
