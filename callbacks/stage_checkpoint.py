"""The newest state of one stage, saved so that a stop at any place costs little or nothing."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StoppedByUserError(Exception):
    """Training stopped at the end of a step because Ctrl-C was pressed; the state is saved."""


class StageCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` regularly, at the end, and when the run is asked to stop.

    On Ctrl-C the running step is finished, so that a resumed run is the same as one that was never
    stopped; a second Ctrl-C stops at once and leaves the checkpoint before. With several processes
    a stop falls on different steps in each, and saving needs all of them: the regular checkpoint is
    what remains there. After any other exception nothing is saved either: the weights may be what
    caused it, and the regular checkpoint is good.

    Args:
        path: The checkpoint file.
        every_n_steps: Steps between two saves.
        identity: Plain values that say what the weights were trained with, kept in the checkpoint.
        identity_key: Under this key.
    """

    def __init__(
        self, path: Path, every_n_steps: int, identity: dict[str, Any], identity_key: str
    ) -> None:
        super().__init__()
        self._path = path
        self._every_n_steps = every_n_steps
        self._identity = identity
        self._identity_key = identity_key
        self._seconds_before = 0.0
        self._began: float | None = None
        self._is_stopping = False
        self._previous_handler: Any = None

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
        """Start the clock and take over Ctrl-C."""
        self._began = time.monotonic()
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Save what is due, and stop if asked to."""
        step = trainer.global_step
        if self._is_stopping or step % self._every_n_steps == 0 or step >= trainer.max_steps:
            trainer.save_checkpoint(self._path, weights_only=False)
        if self._is_stopping:
            raise StoppedByUserError

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what other callbacks did at the end, such as the final evaluation."""
        trainer.save_checkpoint(self._path, weights_only=False)
        if self._is_stopping:
            raise StoppedByUserError

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save on SIGTERM, which Lightning raises between two steps."""
        if isinstance(exception, SIGTERMException) and trainer.world_size == 1:
            trainer.save_checkpoint(self._path, weights_only=False)
        self._release_interrupt()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        self._release_interrupt()

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        self._release_interrupt()
        print("\nStopping after this step; Ctrl-C again stops at once.", file=sys.stderr)

    def _release_interrupt(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None


__all__ = ["StageCheckpoint", "StoppedByUserError"]
