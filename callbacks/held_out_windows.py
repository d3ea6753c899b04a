"""What looks at the world model on the same held-out windows after each validation."""

from __future__ import annotations

from abc import ABC, abstractmethod

import lightning.pytorch as pl

from lawm.batch import Batch
from lawm.random_state import random_state_kept
from lawm.world_model import WorldModel


class HeldOutWindowsCallback(pl.Callback, ABC):
    """Calls :meth:`look` on the first rank; random numbers are put back behind it.

    Args:
        context: Steps that are filtered before the model predicts; shorter windows are not looked
            at.
        rows: Labelled windows, at most.
    """

    def __init__(self, context: int, rows: int) -> None:
        self._context = context
        self._num_rows = rows
        self._batch: Batch | None = None

    @abstractmethod
    def look(self, trainer: pl.Trainer, model: WorldModel, batch: Batch) -> None:
        """Measure, draw, log; must not change the model."""

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch, which is of the same windows every time."""
        if batch_idx == 0:
            self._batch = batch

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at it."""
        batch, self._batch = self._batch, None
        if batch is None or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if batch.reward.shape[1] <= self._context:
            return
        model = pl_module.model
        assert isinstance(model, WorldModel)
        with random_state_kept(pl_module.device):
            self.look(trainer, model, batch.first_labelled(self._num_rows))


__all__ = ["HeldOutWindowsCallback"]
