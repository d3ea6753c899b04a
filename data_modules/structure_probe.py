"""An HDF5 file is gone through by another process before it is opened in this one.

Where its structure is damaged, the HDF5 library may search it without end, or crash. Nothing in
this process can stop it then; the other one may end that way, and the file is named in a sentence.
That process serves all files, one after the other, so that thousands cost one start, and what it
found is kept as long as the file stays as it is.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO

from lawm.data_modules import structure_walk
from lawm.errors import LawmError
from lawm.python_process import import_environment, python_command

BUSY_SECONDS = 10.0  # of computing without getting on with a file, and some more by its size
BUSY_BYTES = 1e9  # of the file for each second more
SILENT_SECONDS = 300.0  # without getting on, computing or not; a slow file system may take longer

NO_START = "The process that tries HDF5 files before they are read does not start"

Identity = tuple[int, ...]


def _identify(path: Path) -> Identity:
    """What tells a file from others, and from itself before it was changed."""
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


class StructureProbe:
    """The process that goes through files for this one, and what it found.

    It starts with the first file, and ends with this process or when it has nothing to do for
    :data:`SILENT_SECONDS`. A fork keeps what was found and starts a process of its own.
    """

    def __init__(self) -> None:
        self._found: dict[Identity, str | None] = {}  # what is wrong, None where nothing is
        self._forget_process()
        self._of_parent: list[object] = []
        atexit.register(self._stop_at_exit)

    def check(self, path: Path, advice: str) -> None:
        """Go through a file, unless that was done and it is still the same.

        Args:
            path: The file, which exists.
            advice: What a message about the file ends with; a sentence.

        Raises:
            LawmError: The library did not come back from it, or no process can be started.
        """
        if self._of_process != os.getpid():
            self._of_parent.append(self._process)  # kept, for its end is the parent's business
            self._forget_process()
        with self._lock:
            identity = _identify(path)
            if identity not in self._found:
                self._found[identity] = self._ask(path)
            fault = self._found[identity]
        if fault is not None:
            raise LawmError(
                f"{path} cannot be read: {fault}, tried in a process of its own. The file is "
                f"damaged or made to do harm. {advice}"
            )

    def trust(self, path: Path) -> None:
        """Count a file as gone through: another process did it."""
        if path.is_file():
            self._found[_identify(path)] = None

    def _forget_process(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._of_process = os.getpid()
        self._lock = threading.Lock()

    def _ask(self, path: Path) -> str | None:
        busy = BUSY_SECONDS + path.stat().st_size / BUSY_BYTES
        request = {"path": str(path.resolve()), "busy": busy, "silent": SILENT_SECONDS}
        try:
            if not self._send(request):
                self._stop(kill=True)  # it had nothing to do and ended
                if not self._send(request):
                    raise LawmError(f"{NO_START}: {self._stop()[1] or 'it ended at once'}.")
            answer = self._receive()
        except BaseException:
            self._stop(kill=True)
            raise
        if answer == structure_walk.DONE:
            return None
        code, errors = self._stop()
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"the HDF5 library searched it for {busy:.0f} s without end"
        if "Timeout" in errors:
            return f"the HDF5 library did not get on with it for {SILENT_SECONDS:.0f} s"
        return f"the HDF5 library broke down over it (exit code {code})"

    def _send(self, request: dict[str, object]) -> bool:
        """Whether the process has begun with the request."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError:
            return False
        return self._receive() == structure_walk.BEGUN

    def _receive(self) -> str:
        """The next line of the process; empty where it has ended."""
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _start(self) -> subprocess.Popen[str]:
        environment = {**import_environment(), "OPENBLAS_NUM_THREADS": "1"}
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                python_command(structure_walk.__file__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                text=True,
            )
        except OSError as error:
            raise LawmError(f"{NO_START}: {error}.") from error
        return self._process

    def _stop(self, *, kill: bool = False) -> tuple[int, str]:
        """Wait for the end of the process.

        Returns:
            Its exit code, and the last line of what it complained of.
        """
        process, errors = self._process, self._errors
        self._process = self._errors = None
        if process is None or errors is None:
            return 0, ""
        if kill:
            process.kill()
        with contextlib.suppress(OSError):
            process.communicate()
        with errors:
            errors.seek(0)
            return process.returncode, errors.read()[-2000:].strip()

    def _stop_at_exit(self) -> None:
        if self._of_process == os.getpid():
            self._stop(kill=True)


PROBE = StructureProbe()

__all__ = ["PROBE", "StructureProbe"]
