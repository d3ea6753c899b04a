"""What the Trainer iterates over: an endless resumable stream, and a fixed list of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lawm.batch import Batch
from lawm.data_modules.episode_store import EpisodeStore
from lawm.data_modules.window_sampler import WindowSampler
from lawm.errors import LawmError

# Windows are drawn with replacement, so an epoch has no meaning: training stops by max_steps. The
# length is finite all the same, because Lightning prefetches from a loader without one, and the
# state that it saves would then be one batch ahead.
BATCHES_PER_EPOCH = 1_000_000


class NumberedBatches(Dataset[Batch]):
    """Batch number i of the stream, taken at a step: a pure function, any process may make it.

    Args:
        store: The data.
        sampler: Which windows make batch number i.
        window: T.
    """

    def __init__(self, store: EpisodeStore, sampler: WindowSampler, window: int) -> None:
        self._store, self._sampler, self._window = store, sampler, window

    def __getitem__(self, number_and_step: tuple[int, int]) -> Batch:
        return self._store.windows(*self._sampler.rows(*number_and_step), self._window)


class MixedBatchLoader:
    """Batches of the training stream; rank r of w takes the numbers n + r, n + w + r, ….

    Args:
        batches: The stream.
        rank: Of this process, 0 to world_size - 1.
        world_size: Number of processes.
        workers: Processes that make batches ahead; 0 makes each when it is asked for.
        start_method: How they are started: ``fork``, ``spawn`` or ``forkserver``; None is the
            platform's way.
    """

    def __init__(
        self,
        batches: NumberedBatches,
        rank: int,
        world_size: int,
        workers: int = 0,
        start_method: str | None = None,
    ) -> None:
        self._batches, self._workers, self._start_method = batches, workers, start_method
        self._rank, self._world_size = rank, world_size
        self._num_drawn = 0  # batches that all processes together have handed to their trainers

    def __len__(self) -> int:
        return BATCHES_PER_EPOCH

    def __iter__(self) -> Iterator[Batch]:
        first, step = self._num_drawn + self._rank, self._num_drawn // self._world_size
        numbers = ((first + i * self._world_size, step + i) for i in range(len(self)))
        for batch in self._made(numbers):
            # Counted before it is handed out: code after a yield may never run. What workers have
            # made ahead does not count, so that a resumed run makes it again.
            self._num_drawn += self._world_size
            yield batch

    def _made(self, numbers: Iterable[tuple[int, int]]) -> Iterator[Batch]:
        if self._workers == 0:
            yield from (self._batches[number] for number in numbers)
            return
        loader = DataLoader(
            self._batches,
            batch_size=None,
            sampler=numbers,
            num_workers=self._workers,
            multiprocessing_context=self._start_method,
            generator=torch.Generator(),  # else it draws a seed from the stream of the model
        )
        try:
            yield from loader
        except LawmError as error:  # PyTorch puts the worker's traceback before the sentence
            raise LawmError(str(error).rpartition(f"{LawmError.__name__}: ")[2].strip()) from error

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
        first_rows: (num windows,) where the windows start; in held-out episodes.
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
            yield self._store.held_out_windows(rows, self._window)


__all__ = ["BATCHES_PER_EPOCH", "LabelledBatchLoader", "MixedBatchLoader", "NumberedBatches"]
