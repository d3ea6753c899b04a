"""Ctrl-C waits for the end of what must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt for a Ctrl-C within on leaving the context, and not before.

    Only where Ctrl-C raises it at all: in the main thread, with Python's own handler.
    """
    own = signal.default_int_handler
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not own:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)
    if came:
        raise KeyboardInterrupt


__all__ = ["deferred_interrupt"]
