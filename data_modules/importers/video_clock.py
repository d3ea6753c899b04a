"""Which frames of a video become steps, chosen by the time at which each is shown.

The steps of a file lie on a grid that begins at its first frame. A step shows the frame that is on
the screen then, as a player would: the last one whose time has come. Times are rounded to the
container's ticks (milliseconds in Matroska), so a frame counts a little before its time: by a
quarter of the step or of the distance to the frame before, whichever is less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

EARLY = 0.25  # of a step, or of the distance between two frames
MAX_HOLD = 2.0  # seconds between two frames of a trajectory, or two steps where they are longer


@dataclass(frozen=True)
class Shown:
    """What became of a frame once the time of the next one is known."""

    steps: int  # that show it; 0: none
    gap: str = ""  # why the trajectory ends with it, as half a sentence; empty: it goes on


class Clock(Protocol):
    """Told the time of each frame, it says how many steps show the one before."""

    def next(self, time: float) -> Shown:
        """A frame comes, shown from ``time`` (seconds) on; the first call is about nothing."""
        ...

    def end(self, duration: float) -> Shown:
        """No frame comes any more; the last one stands for ``duration`` seconds."""
        ...


class GridClock:
    """Steps of equal length in time.

    Args:
        step: Seconds.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._origin = self._time = math.nan
        self._taken = 0  # steps since the origin

    def next(self, time: float) -> Shown:
        """See :class:`Clock`."""
        if math.isnan(self._time):
            self._begin(time)
            return Shown(0)
        before, gap = self._time, time - self._time
        if gap < 0:
            shown = Shown(self._until(before + self._step, self._step), "time runs backwards")
            self._begin(time)
            return shown
        longest = max(MAX_HOLD, 2 * self._step)
        if gap > longest:
            why = f"no frame follows for {gap:.3g} s"
            shown = Shown(self._until(before + self._step, self._step), why)
            self._begin(time)
            return shown
        self._time = time
        return Shown(self._until(time, gap))

    def end(self, duration: float) -> Shown:
        """See :class:`Clock`."""
        if math.isnan(self._time):
            return Shown(0)
        duration = min(duration if duration > 0 else self._step, max(MAX_HOLD, 2 * self._step))
        return Shown(self._until(self._time + duration, duration))

    def _begin(self, time: float) -> None:
        self._origin, self._time, self._taken = time, time, 0

    def _until(self, time: float, gap: float) -> int:
        """Steps that come before a frame that is shown from ``time`` on."""
        limit = time - EARLY * min(self._step, gap) - self._origin
        upto = max(self._taken, math.ceil(limit / self._step))
        count, self._taken = upto - self._taken, upto
        return count


class CountingClock:
    """Every n-th frame is a step, whatever its time.

    Args:
        every: n.
    """

    def __init__(self, every: int) -> None:
        self._every, self._number = every, -1

    def next(self, time: float) -> Shown:
        """See :class:`Clock`."""
        shown = self.end(0.0)
        self._number += 1
        return shown

    def end(self, duration: float) -> Shown:
        """See :class:`Clock`."""
        return Shown(int(self._number >= 0 and self._number % self._every == 0))


__all__ = ["Clock", "CountingClock", "GridClock", "Shown"]
