"""A process of our own for code that may crash or hang: how it starts, settles in and ends."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
import weakref
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_SENT_TO_JOBS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # to every process of a group


def start_worker(target: Callable[..., None], *args: Any) -> BaseProcess:  # noqa: ANN401
    """Start ``target(*args)`` in a worker process.

    The worker is forked where the system's default is to fork (Linux), so that anything will do;
    elsewhere target and arguments must be importable by name.
    """
    process = multiprocessing.Process(target=target, args=args, daemon=True)
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: the worker touches none of their work
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    atexit.register(_kill, weakref.ref(process), os.getpid())
    return process


def _kill(worker: weakref.ref[BaseProcess], parent: int) -> None:
    """Before multiprocessing asks by SIGTERM, which a worker ignores, and waits for its end."""
    process = worker()
    if process is not None and os.getpid() == parent and process.is_alive():
        process.kill()


def settle_in(parent: int) -> bool:
    """In the worker, first of all: leave signals to the parent, and do not outlive it.

    Args:
        parent: Its process id.

    Returns:
        False if the parent is gone already.
    """
    for name in _SENT_TO_JOBS:  # by Ctrl-C, `timeout` and schedulers; the parent acts
        if (number := getattr(signal, name, None)) is not None:  # Windows lacks some
            signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # even a worker that hangs does not outlive its parent
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return os.getppid() == parent
    return True


def how_it_ended(code: int | None) -> str:
    """The exit code of a worker in words."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


__all__ = ["how_it_ended", "settle_in", "start_worker"]
