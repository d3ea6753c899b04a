"""The newest state of one stage, saved so that a stop at any place costs little or nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from lawm.ranks import of_all_ranks
from lawm.stop_signals import StopRun, StopSignals

_ASK_EVERY = 10  # steps; with several processes asking for a stop is a collective call


class StageCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` regularly, at the end, and when the run is asked to stop.

    A step is saved once everything that belongs to it is done: the update, its row in the tables,
    and the validation where one is due. So a resumed run is the same as one that never stopped. At
    the stage's last step that includes what other callbacks do at the end, such as an evaluation:
    a run killed there goes on from the checkpoint before.

    When asked to stop, the running step is finished and saved. With several processes they agree on
    the step; nobody stops alone. After any exception nothing is saved: the weights may be what
    caused it, and the regular checkpoint is good.

    Args:
        path: The checkpoint file.
        previous: Where the checkpoint before it is kept.
        every_n_steps: Steps between two saves.
        identity: Plain values that say what the weights were trained with, kept in the checkpoint.
        identity_key: Under this key.
        stop: Tells whether the run was asked to stop.
    """

    def __init__(
        self,
        path: Path,
        previous: Path,
        every_n_steps: int,
        identity: dict[str, Any],
        identity_key: str,
        stop: StopSignals,
    ) -> None:
        super().__init__()
        self._path, self._previous = path, previous
        self._every_n_steps = every_n_steps
        self._identity = identity
        self._identity_key = identity_key
        self._stop = stop
        self._seconds_before = 0.0
        self._began: float | None = None
        self._last_step = 0
        self._stopped_by: int | None = None
        self._waits_for_validation = False

    @property
    def seconds(self) -> float:
        """Training time of the stage so far, summed over resumes."""
        running = time.monotonic() - self._began if self._began is not None else 0.0
        return self._seconds_before + running

    def state_dict(self) -> dict[str, Any]:
        """The time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from the time spent before."""
        self._seconds_before = float(state_dict["seconds"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the identity into the checkpoint."""
        checkpoint[self._identity_key] = self._identity

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; from now on a stop waits for the end of a step."""
        self._began = time.monotonic()
        self._last_step = trainer.global_step
        self._stop.renew()
        self._stop.is_deferred = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Save what is due, and stop if asked to."""
        step, last_step = trainer.global_step, self._last_step
        self._last_step = step
        if step == last_step or step >= trainer.max_steps:
            return  # gradients are being accumulated; or saved in on_train_end
        if trainer.world_size == 1 or step % _ASK_EVERY == 0:
            self._stopped_by = self._asked_to_stop(trainer)
        if self._stopped_by is None and step % self._every_n_steps:
            return
        if _is_validation_due(trainer):
            self._waits_for_validation = True
        else:
            self._save_and_maybe_stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the step whose validation this was."""
        if self._waits_for_validation:
            self._waits_for_validation = False
            self._save_and_maybe_stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last step."""
        self._stopped_by = self._asked_to_stop(trainer)
        self._save_and_maybe_stop(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Outside of training a stop need not wait."""
        self._stop.is_deferred = False

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Outside of training a stop need not wait."""
        self._stop.is_deferred = False

    def _save_and_maybe_stop(self, trainer: pl.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # on the disk before the checkpoint that counts on it
        trainer.save_checkpoint(
            self._path, weights_only=False, storage_options={"previous": self._previous}
        )
        if self._stopped_by is not None:
            raise StopRun(self._stopped_by)

    def _asked_to_stop(self, trainer: pl.Trainer) -> int | None:
        """The signal that this or another process got."""
        if trainer.world_size == 1:
            return self._stop.requested
        asked = of_all_ranks(trainer, torch.tensor(self._stop.requested or 0))
        return int(asked.max()) or None


def _is_validation_due(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates after this step; it counts batches."""
    every = trainer.val_check_batch
    if not every or not trainer.enable_validation or not any(trainer.num_val_batches):
        return False
    return (trainer.fit_loop.total_batch_idx + 1) % every == 0


__all__ = ["StageCheckpoint"]
