"""How fast training is and what it waits for."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from lawm.batch import Batch

_FETCH = "[_TrainingEpochLoop].train_dataloader_next"  # the trainer's names of what it does
_UPDATE = "run_training_batch"


def num_transitions(batch: Batch) -> int:
    """B times T."""
    return batch.terminated.numel()


@dataclass(frozen=True)
class Throughput:
    """Rates and shares over some stretch of training; validation and callbacks take the rest."""

    updates_per_second: float  # of the time spent on batches and updates
    transitions_per_second: float  # likewise, over all ranks
    data_wait_share: float  # of the wall time: waiting for the next batch
    update_share: float  # of the wall time: forward, backward, optimizer
    memory_gib: float  # peak of this process, resident
    cuda_memory_gib: float | None  # peak of allocated device memory; None without CUDA

    def to_dict(self) -> dict[str, float]:
        """By name, what is known."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ThroughputCallback(pl.Callback):
    """Logs ``throughput/...``: updates and transitions a second, data wait, peak memory.

    The times come from the trainer's own profiling marks around the fetch of a batch and around
    the update, so that evaluations, validation and checkpoints do not pass for either. While
    training runs, the trainer's profiler is wrapped; one that the user chose still works.

    Attributes:
        summary: Over the last training without what comes before its first multiple of
            ``every_n_steps``, which warms up (a shorter training is taken whole); None before its
            end.
    """

    summary: Throughput | None

    def __init__(
        self, every_n_steps: int = 50, count_transitions: Callable[[Any], int] = num_transitions
    ) -> None:
        """Prepare.

        Args:
            every_n_steps: Steps over which a value is taken; logged at its multiples, so that a
                resumed run has the rows of an uninterrupted one.
            count_transitions: From the batch to the number of transitions it trains on.
        """
        assert every_n_steps > 0, every_n_steps
        self._every_n_steps = every_n_steps
        self._count_transitions = count_transitions
        self._timer = _LoopTimer(PassThroughProfiler())
        self._whole = self._warm = self._window = _Stretch.starting(self._timer)
        self._last_step = 0
        self.summary = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._timer = _LoopTimer(trainer.profiler)  # type: ignore[attr-defined]  # undeclared
        trainer.profiler = self._timer  # type: ignore[attr-defined]
        self._whole = self._warm = self._window = _Stretch.starting(self._timer)
        self._last_step = trainer.global_step
        self.summary = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Count; every so often, log."""
        self._timer.updates += 1
        self._timer.transitions += self._count_transitions(batch) * trainer.world_size
        step, last_step = trainer.global_step, self._last_step
        self._last_step = step
        if step == last_step or step % self._every_n_steps:
            return
        self._timer.wait_for_device()
        metrics = self._window.measure(self._timer).to_dict()
        for logger in trainer.loggers:
            logger.log_metrics(
                {f"throughput/{name}": value for name, value in metrics.items()}, step
            )
        self._window = _Stretch.starting(self._timer)
        if self._warm is self._whole:
            self._warm = self._window

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum up."""
        self._finish(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Sum up what there was."""
        self._finish(trainer)

    def _finish(self, trainer: pl.Trainer) -> None:
        if trainer.profiler is not self._timer:  # type: ignore[attr-defined]
            return
        trainer.profiler = self._timer.inner  # type: ignore[attr-defined]
        self._timer.wait_for_device()
        stretch = self._warm if self._timer.updates > self._warm.updates else self._whole
        if self._timer.updates > stretch.updates:
            self.summary = stretch.measure(self._timer)


class _LoopTimer(Profiler):
    """Times two actions of the training loop and hands everything on to another profiler."""

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.seconds = {_FETCH: 0.0, _UPDATE: 0.0}
        self.updates = 0
        self.transitions = 0
        self._began = 0.0  # neither of the two actions runs inside the other
        self._is_inner_idle = isinstance(inner, PassThroughProfiler)

    def start(self, action_name: str) -> None:
        self.inner.start(action_name)
        if action_name in self.seconds:
            self._began = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name in self.seconds:
            self.seconds[action_name] += time.perf_counter() - self._began
        self.inner.stop(action_name)

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Cheaper than the default for the many hooks that nobody times."""
        if self._is_inner_idle and action_name not in self.seconds:
            return nullcontext(action_name)
        return super().profile(action_name)

    def wait_for_device(self) -> None:
        """Count queued work on a GPU as update time."""
        if torch.cuda.is_available():
            self.start(_UPDATE)
            torch.cuda.synchronize()
            self.stop(_UPDATE)

    def summary(self) -> str:
        return self.inner.summary()


@dataclass(frozen=True)
class _Stretch:
    """A moment of training from which on to measure."""

    began: float  # seconds, on the wall clock
    fetching: float  # seconds that all fetches had taken then
    updating: float  # seconds that all updates had taken then
    updates: int
    transitions: int

    @classmethod
    def starting(cls, timer: _LoopTimer) -> _Stretch:
        return cls(
            began=time.perf_counter(),
            fetching=timer.seconds[_FETCH],
            updating=timer.seconds[_UPDATE],
            updates=timer.updates,
            transitions=timer.transitions,
        )

    def measure(self, timer: _LoopTimer) -> Throughput:
        """From then to now."""
        wall = time.perf_counter() - self.began
        fetching = timer.seconds[_FETCH] - self.fetching
        updating = timer.seconds[_UPDATE] - self.updating
        has_cuda = torch.cuda.is_available()
        return Throughput(
            updates_per_second=(timer.updates - self.updates) / (fetching + updating),
            transitions_per_second=(timer.transitions - self.transitions) / (fetching + updating),
            data_wait_share=fetching / wall,
            update_share=updating / wall,
            memory_gib=_peak_memory_bytes() / 2**30,
            cuda_memory_gib=torch.cuda.max_memory_allocated() / 2**30 if has_cuda else None,
        )


def _peak_memory_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


__all__ = ["Throughput", "ThroughputCallback", "num_transitions"]
