"""What a file system refuses, told in sentences."""

from __future__ import annotations

import errno

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
_IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
_GONE = {errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENXIO}


def file_fault(error: OSError) -> str | None:
    """What happened to which file and what to do, or None if no file system says so."""
    file = error.filename or "a file"
    if error.errno in _DISK_FULL:
        return (
            f"{file} cannot be written: {error.strerror}. Free space on its disk, or have your "
            "quota raised."
        )
    if error.errno in _NOT_WRITABLE:
        return (
            f"{file} cannot be read or written: {error.strerror}. Give this user the right to, or "
            "choose another place."
        )
    if error.errno in _IN_THE_WAY:
        return f"{file} is in the way: {error.strerror}. Choose another place."
    if error.errno in _GONE:
        return f"{file} cannot be used: {error.strerror}. Bring it or its disk back."
    return None


__all__ = ["file_fault"]
