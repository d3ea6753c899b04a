"""Trains the prior of u with weights of advantages, when stage 2 begins."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

import lightning.pytorch as pl
import torch

from lawm.advantage_weighted_prior import train_prior
from lawm.posterior_episodes import PosteriorEpisodes
from lawm.random_state import random_state_kept
from lawm.world_model import WorldModel


class HeldToPrior(Protocol):
    """A module whose policy is held to the prior of u."""

    world_model: WorldModel
    advantage_temperature: float | None
    advantage_updates: int
    gamma: float
    lambda_: float


class PriorTraining(pl.Callback):
    """Gives the module's world model its prior, if it wants one; the same on every process.

    A stage that goes on has it in its checkpoint.

    Args:
        module: That is trained.
        behaviour: Gives the episodes of all the data, to the first process.
        seed: Of the value's weights and the order of the data.
        tell: Is told what takes a while, a sentence.
    """

    def __init__(
        self,
        module: HeldToPrior,
        behaviour: Callable[[], list[PosteriorEpisodes]],
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self._module, self._behaviour, self._seed, self._tell = module, behaviour, seed, tell
        prior = module.world_model.latent_action.prior_network
        self._of_stage_1 = copy.deepcopy(prior.state_dict())

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train it on the first process; a collective call."""
        module = self._module
        if module.advantage_temperature is None or trainer.global_step > 0:
            return
        prior = module.world_model.latent_action.prior_network
        prior.load_state_dict(self._of_stage_1)  # a stage that begins anew after a fault
        with random_state_kept(pl_module.device):
            torch.manual_seed(self._seed)
            if trainer.is_global_zero:
                self._tell(
                    "the latent-action prior is retrained, weighted by advantages, "
                    f"{module.advantage_updates} updates (policy.advantage_temperature "
                    f"{module.advantage_temperature:g})"
                )
                train_prior(
                    module.world_model,
                    self._behaviour(),
                    module.advantage_temperature,
                    module.gamma,
                    module.lambda_,
                    module.advantage_updates,
                )
        state = {name: value.cpu() for name, value in prior.state_dict().items()}
        prior.load_state_dict(trainer.strategy.broadcast(state))


__all__ = ["PriorTraining"]
