"""What the LightningModules of all stages do alike: a step of training, its record, its guard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from lawm.finite_guard import FiniteGuard
from lawm.fused.optimizer import clip_gradient_norm
from lawm.running_means import RunningMeans

BatchT = TypeVar("BatchT")  # what a step trains on: windows, or start states


class StageModule(pl.LightningModule, ABC, Generic[BatchT]):
    """Trains on the loss of :meth:`compute_loss`, logs it and refuses bad updates.

    Neither :attr:`means` nor :attr:`guard` is part of the weights of a checkpoint.

    Args:
        stage: Under which name it logs.

    Attributes:
        means: A callback that logs what :meth:`compute_loss` tells.
        guard: Holds updates back that are not finite.
    """

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.means = RunningMeans(stage)
        self.guard = FiniteGuard()

    @abstractmethod
    def compute_loss(self, batch: BatchT) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what is logged of it by name; all ()."""

    def training_step(self, batch: BatchT, batch_idx: int) -> Tensor:
        """One update; :attr:`means` logs."""
        del batch_idx
        loss, logs = self.compute_loss(batch)
        self.record(loss, logs)
        return loss

    def record(self, loss: Tensor, logs: dict[str, Tensor]) -> None:
        """Keep what a step computed, for the log and for the guard."""
        self._loss = loss.detach()
        self.means.add(logs)

    def clip_gradient_norm(self, optimizer: torch.optim.Optimizer, limit: float | None) -> Tensor:
        """Clip the norm over all parameters.

        Args:
            optimizer: Of the parameters.
            limit: Greatest norm, the Trainer's ``gradient_clip_val``; None clips nothing.

        Returns:
            (), the norm over all parameters before clipping.
        """
        groups = optimizer.param_groups
        return clip_gradient_norm((p for group in groups for p in group["params"]), limit or None)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm itself, and watches it.

        Lightning refuses to clip with a fused optimiser under mixed precision: it fears for a
        gradient scaler, which bfloat16 does not have.
        """
        del gradient_clip_algorithm
        norm = self.clip_gradient_norm(optimizer, gradient_clip_val)
        self.guard.watch(optimizer, self.global_step, self._loss, norm)


__all__ = ["StageModule"]
