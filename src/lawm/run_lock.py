"""One run at a time in a run folder."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from lawm.errors import LawmError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_log = logging.getLogger(__name__)


class RunLock:
    """Holds a run folder for one job; taken by its first process alone.

    The kernel's lock on the file ends with the process that holds it, also after a SIGKILL, so
    that no stale lock stands in the way of a resume. The file tells who holds it; it stays, as
    removing it would let two processes lock two files of one name.

    Over NFS the lock reaches other machines if the server has a lock service and the folder is not
    mounted with ``nolock`` or ``local_lock``. Where the file system refuses locks, a warning says
    that nobody can know; and where the last owner was on another machine and did not sign off, a
    warning names it, as this lock may not have been able to see it.

    Args:
        path: The lock file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            LawmError: Another run has it, or the folder cannot be written.
        """
        try:
            file = self._path.open("a+")
        except OSError as error:
            raise LawmError(
                f"run folder {self._path.parent} cannot be written ({error.strerror}). Make it "
                "writable, or copy the run to a folder that is."
            ) from error
        file.seek(0)
        owner = _owner_in(file.read())
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                file.close()
                raise LawmError(
                    f"run folder {self._path.parent} is in use by {_describe(owner)}; two runs "
                    "would overwrite each other. Wait for it or stop it, or give another --run_dir."
                ) from error
            _log.warning(
                "%s is on a file system without locks (%s): make sure that no other run uses it.",
                self._path.parent,
                error.strerror,
            )
        if owner and owner["host"] != socket.gethostname():
            _log.warning(
                "The run in %s was last trained by %s, and did not sign off. If it is still alive "
                "and this file system carries no locks between machines, stop it now.",
                self._path.parent,
                _describe(owner),
            )
        self._file = file
        self._write({"host": socket.gethostname(), "pid": os.getpid(), "since": _now()})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Sign off and let go."""
        assert self._file is not None
        self._write({})
        self._file.close()
        self._file = None

    def _write(self, owner: dict[str, str | int]) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(owner) if owner else "")
        self._file.flush()


def read_owner(path: Path) -> dict[str, str | int]:
    """Host, pid and since of who holds or held the lock, without touching it.

    Empty if nobody does, they signed off, or the file cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        return _owner_in(path.read_text())
    except (OSError, ValueError):
        return {}


def _owner_in(text: str) -> dict[str, str | int]:
    """Who wrote the file last; empty if it signed off, or was killed while it signed on."""
    try:
        owner = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and {"host", "pid", "since"} <= owner.keys() else {}


def _describe(owner: dict[str, str | int]) -> str:
    if not owner:
        return "another run"
    return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


__all__ = ["RunLock", "read_owner"]
