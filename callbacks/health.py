"""Stops a training that computes nonsense, and keeps what it takes to find out why."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch as pl
import torch
from torch import Tensor

from lawm.checkpoint_file import write_checkpoint
from lawm.fault_file import Fault, write_fault
from lawm.finite_guard import FiniteGuard, NotFiniteError
from lawm.running_means import log_interval

LOOK_EVERY = 10  # steps; on a GPU looking waits for the device, on a CPU every step is looked at
HISTORY, LEAST_HISTORY = 20, 5  # logged losses that a new one is compared with
DEVIATIONS = 20.0  # median absolute deviations above the median that count as an explosion
NAMED_ROWS = 3  # in the message; the file has all

_log = logging.getLogger(__name__)


@runtime_checkable
class KnowsSources(Protocol):
    """A data module that can tell where a batch comes from."""

    def describe(self, batch: Any) -> list[str]:  # noqa: ANN401
        """Shard, episode and steps of each row."""
        ...


@dataclass(frozen=True)
class _Taken:
    """A batch that an update was or will be made from."""

    step: int  # updates done before it
    batch: Any
    random_state: dict[str, Tensor]


class HealthCallback(pl.Callback):
    """Stops at a loss or gradient that is not finite; warns when the loss explodes.

    The module has a :class:`~lawm.finite_guard.FiniteGuard`, which keeps the weights as they were
    before the first bad update. The batch of that update is saved with them, see
    :mod:`lawm.fault_file`; nothing else is saved from then on.

    Args:
        stage: Name of the stage.
        folder: Where faulty batches go.
        run: Run folder, for the message.
        settings: Under which name the configuration has what the stage trains, for the message.
    """

    def __init__(self, stage: str, folder: Path, run: Path, settings: str) -> None:
        super().__init__()
        self._stage, self._folder, self._run, self._settings = stage, folder, run, settings
        self._taken: deque[_Taken] = deque(maxlen=1)
        self._losses = LossHistory()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep as many batches as there may be between two looks."""
        on_cpu = pl_module.device.type == "cpu"
        kept = (1 if on_cpu else LOOK_EVERY) * int(trainer.accumulate_grad_batches)
        self._taken = deque(maxlen=kept)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Keep the batch and the random state before its loss; neither waits for the device."""
        random_state = {"cpu": torch.get_rng_state()}
        if pl_module.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state(pl_module.device)
        self._taken.append(_Taken(trainer.global_step, batch, random_state))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Look at what the guard found, and at the loss where it was logged."""
        step = trainer.global_step
        if step % LOOK_EVERY == 0:
            _guard(pl_module).raise_if_found()
        if step % log_interval(trainer) == 0:
            loss = trainer.callback_metrics.get(f"{self._stage}/loss")
            if loss is not None and (warning := self._losses.add(float(loss))):
                _log.warning("%s, step %d: %s", self._stage, step, warning)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Never save after a bad update: saving waits for the device anyway."""
        _guard(pl_module).raise_if_found()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last updates."""
        _guard(pl_module).raise_if_found()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save the batch and say in the exception where it comes from."""
        if not isinstance(exception, NotFiniteError):
            return
        taken = [t for t in self._taken if t.step == exception.step]
        assert taken, (exception.step, [t.step for t in self._taken])
        paths = [  # several where gradients are accumulated
            self._save(trainer, pl_module, part, exception, f"-part-{i}" if i else "")
            for i, part in enumerate(taken)
        ]
        rows = [row for part in taken for row in _sources(trainer, part.batch)]
        exception.told = self._message(paths, rows, exception)

    def _save(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        taken: _Taken,
        error: NotFiniteError,
        suffix: str,
    ) -> Path:
        name = f"{self._stage}-step-{error.step}-rank-{trainer.global_rank}{suffix}"
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.npz"
        info = {
            "step": error.step,
            "loss": str(error.loss),  # JSON has no NaN
            "gradient_norm": str(error.gradient_norm),
            "precision": str(trainer.precision),
            "rows": _sources(trainer, taken.batch),
        }
        write_fault(path, Fault(self._stage, taken.batch, taken.random_state, info))
        content = {
            "state_dict": pl_module.state_dict(),
            "hyper_parameters": dict(pl_module.hparams),
            "global_step": error.step,
        }
        write_checkpoint(content, path.with_suffix(".ckpt"))
        return path

    def _message(self, paths: list[Path], rows: list[str], error: NotFiniteError) -> str:
        more = f"; and {len(rows) - NAMED_ROWS} more rows" if len(rows) > NAMED_ROWS else ""
        others = f" and its {len(paths) - 1} other parts" if len(paths) > 1 else ""
        kept = ""
        if self._settings == "policy":
            kept = f"; `--world_model_from {self._run}` takes its stage 1 over"
        what = "gradient" if torch.tensor(error.loss).isfinite() else "loss"
        return (
            f"{self._stage}: the {what} of step {error.step} is not finite (loss {error.loss:g}, "
            f"gradient norm {error.gradient_norm:g}). Its batch: "
            f"{'; '.join(rows[:NAMED_ROWS])}{more}. The batch is saved with the weights before "
            f"that step; find the rows at fault with "
            f"`lawm replay {paths[0]}`{others}. The last checkpoint is "
            f"from before and good, but `lawm fit --resume {self._run}` would meet the same batch "
            f"again: start a new run with a lower {self._settings}.learning_rate, or without the "
            f"data at fault{kept}."
        )


class LossHistory:
    """Tells when a logged loss explodes.

    That is, when it lies above the median of the 20 before it by more than 20 times their median
    absolute deviation (or 20 % of the median, where that is more), and above the highest of them by
    more than their whole range. The first five are never compared. After a warning the next 20 are
    let pass: one explosion is told once.
    """

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=HISTORY)
        self._silent = 0

    def add(self, value: float) -> str | None:
        """Take in the next loss; a sentence if it exploded."""
        earlier = list(self._values)
        self._values.append(value)
        self._silent = max(self._silent - 1, 0)
        if len(earlier) < LEAST_HISTORY or self._silent:
            return None
        median, highest = statistics.median(earlier), max(earlier)
        deviation = statistics.median(abs(other - median) for other in earlier)
        allowed = DEVIATIONS * max(deviation, 0.01 * abs(median))
        if value - median <= allowed or value - highest <= highest - min(earlier):
            return None
        self._silent = HISTORY
        return (
            f"the loss has exploded: {value:.4g}, while the median of the last {len(earlier)} "
            f"logged was {median:.4g} and the highest {highest:.4g}. Training goes on; if it does "
            "not recover, start a new run with a lower learning_rate or a lower gradient clip."
        )


def _guard(module: pl.LightningModule) -> FiniteGuard:
    guard = module.guard
    assert isinstance(guard, FiniteGuard), type(guard)
    return guard


def _sources(trainer: pl.Trainer, batch: Any) -> list[str]:  # noqa: ANN401
    data = trainer.datamodule  # type: ignore[attr-defined]  # undeclared in Lightning
    return data.describe(batch) if isinstance(data, KnowsSources) else ["of an unknown source"]


__all__ = ["HealthCallback", "KnowsSources", "LossHistory"]
