"""The process that opens HDF5 files first: it goes through their structure, and may hang or crash.

:mod:`lawm.data_modules.structure_probe` starts it by its path and watches it. It does with a file
what its reader will do: lists groups, opens objects, reads attributes, looks storage up. What the
library reports as an error is left to the reader, who says it better; what counts here is that the
library comes back.

A request is a line of JSON: the path, and the seconds after which a file is given up if nothing
was gained. Two lines answer, BEGUN and DONE. Nothing of lawm is imported, for a quick start.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import h5py
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5t

BEGUN, DONE = "begun", "done"
REPORT_SECONDS = 1.0  # between two times that the limits are moved on, which costs a millisecond
ADDRESS_SPACE = 4 << 30  # bytes, for absurd sizes
ELEMENTS_AT_ONCE = 4096  # of variable length
IGNORED_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # sent to whole jobs


class Limits:
    """Ends this process when it gets no further for too long.

    A library that searches without end computes all the time, which a limit of computing seconds
    notices; that a file system is slow does not count there, and a silence of minutes does. That
    also ends the process when there are no more requests.
    """

    def __init__(self) -> None:
        self._busy, self._silent = math.inf, math.inf
        self._moved = -math.inf

    def set(self, busy: float, silent: float) -> None:
        """Seconds of computing, and of silence, for what comes next."""
        if (busy, silent) != (self._busy, self._silent):
            self._moved = -math.inf
        self._busy, self._silent = busy, silent
        self.move_on()

    def move_on(self) -> None:
        """Something was gained: count anew."""
        now = time.monotonic()
        if now - self._moved < REPORT_SECONDS:
            return
        self._moved = now
        faulthandler.dump_traceback_later(self._silent, exit=True)
        _limit("RLIMIT_CPU", math.ceil(time.process_time() + REPORT_SECONDS + self._busy))


def walk(path: str, limits: Limits) -> None:
    """Go through everything that plain links reach in a file, each object once."""
    with h5py.File(path, "r") as file:
        root = file["/"].id
        seen = {h5o.get_info(root).addr}
        _read_attributes(root, limits)
        todo = [_members(root, limits)]  # of the groups from the root to where the walk is
        while todo:
            node = next(todo[-1], None)
            if node is None:
                todo.pop()
                continue
            about = _tried(h5o.get_info, node)
            if about is None or about.addr in seen:
                continue
            seen.add(about.addr)
            _read_attributes(node, limits)
            if isinstance(node, h5g.GroupID):
                todo.append(_members(node, limits))
            elif isinstance(node, h5d.DatasetID):
                _tried(_read_storage, node, limits)


def _members(group: h5g.GroupID, limits: Limits) -> Iterator[h5i.ObjectID]:
    for name in _tried(list, group) or ():
        limits.move_on()
        link = _tried(group.links.get_info, name)
        if link is not None and link.type == h5l.TYPE_HARD:
            node = _tried(h5o.open, group, name)
            if node is not None:
                yield node


def _read_attributes(node: h5i.ObjectID, limits: Limits) -> None:
    for number in range(_tried(h5a.get_num_attrs, node) or 0):
        limits.move_on()
        _tried(_read_attribute, node, number)


def _read_attribute(node: h5i.ObjectID, number: int) -> None:
    attribute = h5a.open(node, index=number)
    kind = attribute.get_type()
    lies_in_object = kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM) or (
        isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()
    )
    if not lies_in_object:  # but in a heap, which can be a trap
        owner = h5py.Dataset(node) if isinstance(node, h5d.DatasetID) else h5py.Group(node)
        owner.attrs[attribute.name]


def _read_storage(data: h5d.DatasetID, limits: Limits) -> None:
    shape, dtype, layout = data.shape, data.dtype, data.get_create_plist()
    kind = layout.get_layout()
    if kind == h5d.VIRTUAL or layout.get_external_count() or not shape:
        return
    if kind == h5d.CHUNKED:
        sides = zip(shape, layout.get_chunk(), strict=True)
        is_stored = data.get_num_chunks() >= math.prod(-(-side // chunk) for side, chunk in sides)
    else:
        data.get_offset()
        is_stored = data.get_storage_size() >= math.prod(shape) * dtype.itemsize
    if dtype.kind != "O" or not is_stored:
        return
    # Elements of variable length lie in a heap too
    rows = max(1, ELEMENTS_AT_ONCE // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        limits.move_on()
        h5py.Dataset(data)[start : start + rows]


def _tried(call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    try:
        return call(*args)
    except Exception:  # the reader meets it too, and says it in a sentence
        return None


def _limit(name: str, value: int) -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, hard))


def main() -> None:
    """Answer requests until their end."""
    for name in IGNORED_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _limit("RLIMIT_AS", ADDRESS_SPACE)
    limits = Limits()
    for line in sys.stdin:
        request = json.loads(line)
        limits.set(request["busy"], request["silent"])
        print(BEGUN, flush=True)
        _tried(walk, request["path"], limits)
        print(DONE, flush=True)


if __name__ == "__main__":
    main()
