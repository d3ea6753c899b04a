"""Trains the ensemble that cuts rollouts, when stage 2 begins or goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import lightning.pytorch as pl
import torch

from lawm.dynamics_ensemble import DynamicsEnsemble, Transitions
from lawm.random_state import random_state_kept
from lawm.world_model import WorldModel


class CutsRollouts(Protocol):
    """A module whose rollouts end where an ensemble disagrees."""

    world_model: WorldModel
    disagreement_quantile: float | None
    ensemble: DynamicsEnsemble | None


class EnsembleTraining(pl.Callback):
    """Gives the module its ensemble, if it wants one; the same on every process.

    A stage that goes on makes it again, from the same data and random numbers: it costs less time
    than its place in every checkpoint.

    Args:
        module: That is trained.
        transitions: Gives those of all the data, to the first process.
        seed: Of the members' weights and samples.
    """

    def __init__(
        self, module: CutsRollouts, transitions: Callable[[], Transitions], seed: int
    ) -> None:
        self._module, self._transitions, self._seed = module, transitions, seed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train it on the first process; a collective call."""
        quantile = self._module.disagreement_quantile
        if quantile is None:
            return
        model = self._module.world_model
        with random_state_kept(pl_module.device):
            torch.manual_seed(self._seed)
            ensemble = DynamicsEnsemble(model.rssm.feature_size, model.spec.action_dim)
            ensemble.to(pl_module.device)
            if trainer.is_global_zero:
                ensemble.fit(self._transitions(), quantile)
        state = {name: value.cpu() for name, value in ensemble.state_dict().items()}
        ensemble.load_state_dict(trainer.strategy.broadcast(state))
        self._module.ensemble = ensemble.requires_grad_(False)


__all__ = ["EnsembleTraining"]
