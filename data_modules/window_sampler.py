"""Which windows make batch k: index arithmetic only, a pure function of (seed, k)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


class WindowPool:
    """The windows of W transitions that lie inside single episodes.

    Args:
        first_row: (E,) row of the first observation of each episode.
        lengths: (E,) transitions of each episode.
        window: W.
    """

    def __init__(
        self, first_row: NDArray[np.int64], lengths: NDArray[np.int64], window: int
    ) -> None:
        starts = np.maximum(lengths - window + 1, 0)  # (E,) an episode of W transitions has one
        self._end = np.cumsum(starts)
        self._shift = first_row - (self._end - starts)
        self.num_windows = int(starts.sum())
        self.num_skipped = int((starts == 0).sum())  # episodes shorter than the window

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """First rows of windows given by their numbers in 0 … num_windows - 1."""
        episode = np.searchsorted(self._end, numbers, side="right")
        rows: NDArray[np.int64] = numbers + self._shift[episode]
        return rows


class WindowSampler:
    """Draws the windows of batch k, labelled and action-free ones at a set ratio.

    Every window of a half is equally likely, drawn with replacement. The labelled rows of a batch
    are ``batch_size * labelled_ratio``; where that is no whole number it alternates between the
    two next to it, so that over any k batches the total is off by less than one row (error
    diffusion over k). A whole number keeps all shapes static.

    Args:
        labelled: Windows with labels; must not be empty.
        free: Windows without; may be empty if ``labelled_ratio`` is 1.
        batch_size: B.
        labelled_ratio: Share of labelled rows, in (0, 1].
        seed: Which stream of batches, a whole number from 0.
    """

    def __init__(
        self,
        labelled: WindowPool,
        free: WindowPool,
        *,
        batch_size: int,
        labelled_ratio: float,
        seed: int,
    ) -> None:
        assert 0.0 < labelled_ratio <= 1.0, labelled_ratio
        assert labelled.num_windows > 0, "no labelled windows"
        assert free.num_windows > 0 or labelled_ratio == 1.0, "no action-free windows"
        self.batch_size = batch_size
        self._labelled, self._free = labelled, free
        self._rows_per_batch = batch_size * Fraction(str(labelled_ratio))  # 0.29 is 29/100
        self._seed = seed

    def num_labelled(self, index: int) -> int:
        """L of batch ``index``."""
        half = Fraction(1, 2)
        upto, before = (int(k * self._rows_per_batch + half) for k in (index + 1, index))
        return upto - before

    def rows(
        self, index: int, step: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First rows (L,) of the labelled and (B - L,) of the action-free windows of a batch.

        Args:
            index: Number of the batch.
            step: The L of this batch is taken; default ``index``. With several processes the
                batches of one step have the same L: each process keeps the ratio, and the mean of
                their gradients is that of the batches together.

        The 64-bit raw numbers are reduced modulo the number of windows: the bias is below
        1e-12 for fewer than 10 million windows.
        """
        key = np.array([self._seed, index], np.uint64)
        raw = np.random.Philox(key=key).random_raw(self.batch_size)
        num_labelled = self.num_labelled(index if step is None else step)
        return (
            _draw(self._labelled, raw[:num_labelled]),
            _draw(self._free, raw[num_labelled:]),
        )


def _draw(pool: WindowPool, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    if len(raw) == 0:
        return np.empty(0, np.int64)
    return pool.rows((raw % np.uint64(pool.num_windows)).astype(np.int64))


__all__ = ["WindowPool", "WindowSampler"]
