"""Which held-out windows a validation is measured on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.episode_store import EpisodeStore

MAX_BATCHES = 8


def validation_rows(store: EpisodeStore, window: int, batch_size: int) -> NDArray[np.int64]:
    """First rows of windows that tile the held-out episodes, at most ``MAX_BATCHES`` batches.

    Each batch is spread evenly over all the windows: what is measured on the first one alone is of
    all episodes.
    """
    rows = store.tile(store.held_out, window)
    most = MAX_BATCHES * batch_size
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    if len(rows) == 0:
        return rows
    batches = math.ceil(len(rows) / batch_size)
    return np.concatenate([rows[first::batches] for first in range(batches)])


__all__ = ["validation_rows"]
