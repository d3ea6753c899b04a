"""Where the picture changes to another scene.

The measure is that of FFmpeg's ``select`` filter (``scene``): the mean absolute difference between
two pictures as a share of the range, or how much it differs from the difference before, whichever
is less. What moves much all the time is then no cut, and a cut is one step and not two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SceneCuts:
    """Compares each picture with the one before.

    Args:
        threshold: Share of the range in (0, 1]; no picture differs by more than 1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self.restart()

    def restart(self) -> None:
        """The next picture is compared with nothing."""
        self._before: NDArray[np.int16] | None = None
        self._difference = 0.0

    def is_cut(self, picture: NDArray[np.uint8]) -> bool:
        """Whether another scene begins with this picture (H, W, C)."""
        values = picture.astype(np.int16)
        before, self._before = self._before, values
        if before is None:
            return False
        difference = float(np.abs(values - before).mean()) / 255.0
        score = min(difference, abs(difference - self._difference))
        self._difference = difference
        return score > self._threshold


__all__ = ["SceneCuts"]
