"""What the Trainer iterates over: an endless resumable stream, and a fixed list of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.batch import Batch
from lawm.data_modules.episode_store import EpisodeStore
from lawm.data_modules.window_sampler import WindowSampler

# Windows are drawn with replacement, so an epoch has no meaning: training stops by max_steps. The
# length is finite all the same, because Lightning prefetches from a loader without one, and the
# state that it saves would then be one batch ahead.
BATCHES_PER_EPOCH = 1_000_000


class MixedBatchLoader:
    """Batches of the training stream; rank r of w takes the numbers n + r, n + w + r, ….

    Args:
        store: The data.
        sampler: Which windows make batch number i of the stream.
        window: T.
        rank: Of this process, 0 to world_size - 1.
        world_size: Number of processes.
    """

    def __init__(
        self, store: EpisodeStore, sampler: WindowSampler, window: int, rank: int, world_size: int
    ) -> None:
        self._store, self._sampler, self._window = store, sampler, window
        self._rank, self._world_size = rank, world_size
        self._num_drawn = 0  # batches that all processes together have handed to their trainers

    def __len__(self) -> int:
        return BATCHES_PER_EPOCH

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(len(self)):
            step = self._num_drawn // self._world_size
            rows = self._sampler.rows(self._num_drawn + self._rank, step)
            # Counted before it is handed out: code after a yield may never run.
            self._num_drawn += self._world_size
            yield self._store.windows(*rows, self._window)

    def state_dict(self) -> dict[str, Any]:
        """The same on every rank, as rank 0's is saved for all of them."""
        return {"num_drawn": self._num_drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the same stream, also with another number of processes."""
        self._num_drawn = int(state["num_drawn"])


class LabelledBatchLoader:
    """Fixed windows with labels, in order, every rank the same.

    Args:
        store: The data.
        first_rows: (num windows,) where the windows start; in episodes whose actions are kept.
        window: T.
        batch_size: B; the last batch may be smaller.
    """

    def __init__(
        self, store: EpisodeStore, first_rows: NDArray[np.int64], window: int, batch_size: int
    ) -> None:
        self._store, self._window = store, window
        self._chunks: Sequence[NDArray[np.int64]] = [
            first_rows[i : i + batch_size] for i in range(0, len(first_rows), batch_size)
        ]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self._chunks:
            yield self._store.windows(rows, rows[:0], self._window)


__all__ = ["BATCHES_PER_EPOCH", "LabelledBatchLoader", "MixedBatchLoader"]
