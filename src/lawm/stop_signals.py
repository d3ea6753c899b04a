"""How a run is asked to stop: Ctrl-C, and the signals by which a scheduler takes a machine back."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

# SLURM sends SIGTERM before it preempts or ends a job, and with --signal=USR1@120 SIGUSR1 earlier
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = 130  # 128 + SIGINT, what a shell expects after Ctrl-C
TRY_AGAIN = 75  # EX_TEMPFAIL of <sysexits.h>: no error, the same command again will go on


class StopRun(BaseException):
    """The run ends here because a signal asked for it; no ``except Exception`` may hold it up.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = INTERRUPTED if signum == signal.SIGINT else TRY_AGAIN


class StopSignals:
    """Turns the signals into :class:`StopRun`, at once or, while deferred, when it is convenient.

    While deferred the first signal is only noted, for the training loop to look at between two
    steps. A second Ctrl-C does not wait; further signals of a scheduler do, as it sends several.
    A signal that the process was started to ignore stays ignored. Forked processes, such as those
    that load data, do not heed Ctrl-C, which reaches them as well: the step that is running needs
    them. Of the other signals they die as usual.

    Attributes:
        is_deferred: Whether to note the next signal instead of raising.
        requested: The signal noted; None if there was none.
    """

    def __init__(self) -> None:
        self.is_deferred = False
        self.requested: int | None = None
        self._before: dict[int, Any] = {}
        self._process = 0

    def __enter__(self) -> StopSignals:
        """Take the signals over."""
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            handlers = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
            self._before = {s: h for s, h in handlers.items() if h != signal.SIG_IGN}
            self.renew()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give them back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def renew(self) -> None:
        """Take the signals over again from whom else has: Lightning has a handler of SIGTERM.

        That one makes a collective call at once, whatever the other processes are doing.
        """
        for signum in self._before:
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if signum != signal.SIGINT:
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)
            return
        is_first = self.requested is None
        if is_first:
            self.requested = signum
        if not self.is_deferred or (signum == signal.SIGINT and not is_first):
            raise StopRun(signum)
        if is_first:
            print(
                f"\n{signal.Signals(signum).name}: stopping after this step"
                f"{'; Ctrl-C again stops at once' if signum == signal.SIGINT else ''}.",
                file=sys.stderr,
            )


__all__ = ["INTERRUPTED", "STOP_SIGNALS", "TRY_AGAIN", "StopRun", "StopSignals"]
