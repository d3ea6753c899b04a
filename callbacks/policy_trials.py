"""Several policies are begun in one world model, and the best in imagination goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from lawm.callbacks.offline_selection import imagined_reward
from lawm.continued_starts import ContinuedStarts
from lawm.errors import LawmError
from lawm.random_state import random_state_kept
from lawm.rssm import ModelState

TRIAL_REWARD = "selection/trial_reward"


class IsTried(Protocol):
    """A module of which several can be tried."""

    trials: int
    trial_steps: int
    continued: ContinuedStarts


class PolicyTrials(pl.Callback):
    """Trains a number of policies for some updates each, one after the other, and goes on with one.

    Whether a policy learns to get up from where it lies, or to free what has jammed, is decided
    early and by chance. What it has learned shows in long imagined rollouts, see
    :class:`~lawm.callbacks.offline_selection.OfflineSelectionCallback`; no environment is needed.
    The updates of the trials count as the stage's. Our own derivation.

    A trial ends when the batch behind its last update is handed out, so a checkpoint of that update
    still has its policy, and a run that is stopped there goes on as one that was not.

    Args:
        module: That is trained, which says how many trials of how many updates; of one there is
            nothing to choose.
        starts: Gives that many states of this process's share of the data.
        fresh: Makes an untrained module like it.
        seed: Of their weights and of the model's samples.

    Attributes:
        rewards: Mean imagined reward at the end of each trial so far.
    """

    def __init__(
        self,
        module: IsTried,
        starts: Callable[[int], ModelState],
        fresh: Callable[[], nn.Module],
        seed: int,
    ) -> None:
        self._trials, self._trial_steps = module.trials, module.trial_steps
        self._starts, self._fresh, self._seed = starts, fresh, seed
        self._best: dict[str, Any] | None = None  # weights and optimiser of the best trial so far
        self.rewards: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """The trials so far."""
        return {"rewards": self.rewards, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from those of the checkpoint."""
        self.rewards, self._best = list(state_dict["rewards"]), state_dict["best"]

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Where a trial has had its updates, begin the next one, or go on with the best."""
        done = len(self.rewards)
        if self._trials == 1 or done == self._trials:
            return
        if trainer.global_step < (done + 1) * self._trial_steps:
            return
        optimizer = trainer.optimizers[0]
        reward = imagined_reward(trainer, pl_module, self._starts, self._seed)
        reward = reward if math.isfinite(reward) else -math.inf  # nothing is above NaN
        for logger in trainer.loggers:
            logger.log_metrics({TRIAL_REWARD: reward}, trainer.global_step)
        if self._best is None or reward > max(self.rewards):
            self._best = {
                "weights": {k: v.detach().clone() for k, v in pl_module.state_dict().items()},
                "optimizer": copy.deepcopy(optimizer.state_dict()),
            }
        self.rewards.append(reward)
        if done + 1 < self._trials:
            _replace(pl_module, self._fresh_weights(done + 1, pl_module.device))
            optimizer.state.clear()
            return
        _replace(pl_module, self._best["weights"])
        optimizer.load_state_dict(self._best["optimizer"])
        self._best = None
        rewards = ", ".join(f"{reward:.5g}" for reward in self.rewards)
        rank_zero_info(
            f"Policy {self.rewards.index(max(self.rewards)) + 1} of {self._trials} goes on; reward "
            f"of an imagined step after {self._trial_steps} updates each: {rewards}."
        )

    def _fresh_weights(self, trial: int, device: torch.device) -> dict[str, Tensor]:
        """The same on every process."""
        with random_state_kept(device):
            torch.manual_seed(hash((self._seed, trial)))
            return self._fresh().state_dict()


def refuse_trials_beyond_the_stage(trials: int, trial_steps: int, max_steps: int) -> None:
    """Refuse trials that leave the chosen policy no update.

    Raises:
        LawmError: They do.
    """
    if trials > 1 and trials * trial_steps >= max_steps:
        raise LawmError(
            f"policy.trials {trials} of policy.trial_steps {trial_steps} take "
            f"{trials * trial_steps} updates, and stages.policy.max_steps is {max_steps}: the one "
            "that is chosen would not be trained on. Raise max_steps, or lower one of the two."
        )


def _replace(module: pl.LightningModule, weights: dict[str, Tensor]) -> None:
    """Put weights and moving figures in place; rollouts that went on belong to another policy."""
    module.load_state_dict(weights)
    tried: IsTried = module  # type: ignore[assignment]  # the policy's module
    tried.continued.load_state_dict({})


__all__ = ["TRIAL_REWARD", "PolicyTrials", "refuse_trials_beyond_the_stage"]
