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
            pl_module.load_state_dict(self._fresh_weights(done + 1, pl_module.device))
            optimizer.state.clear()
            return
        pl_module.load_state_dict(self._best["weights"])
        optimizer.load_state_dict(self._best["optimizer"])
        self._best = None
        rewards = ", ".join(f"{reward:.5g}" for reward in self.rewards)
        rank_zero_info(
            f"Policy {self.rewards.index(max(self.rewards)) + 1} of {self._trials} goes on; reward "
            f"of an imagined step after {self._trial_steps} updates each: {rewards}."
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """After a trial's last update none of its rollouts goes on: the next policy is another.

        Here, since the next batch is joined with them before it starts.
        """
        if len(self.rewards) < self._trials > 1 and trainer.global_step % self._trial_steps == 0:
            tried: IsTried = pl_module  # type: ignore[assignment]  # the policy's module
            tried.continued.load_state_dict({})

    def _fresh_weights(self, trial: int, device: torch.device) -> dict[str, Tensor]:
        """The same on every process."""
        with random_state_kept(device):
            torch.manual_seed(hash((self._seed, trial)))
            return self._fresh().state_dict()


def refuse_trials_beyond_the_stage(
    trials: int, trial_steps: int, max_steps: int, cooldown: float
) -> None:
    """Refuse trials that are not alike, or that leave the chosen policy no update.

    Args:
        trials: How many.
        trial_steps: Updates of each.
        max_steps: Updates of the stage.
        cooldown: Share of these, at the end, over which the learning rate falls.

    Raises:
        LawmError: The rate would fall before the last trial has ended.
    """
    taken, full = trials * trial_steps, int((1.0 - cooldown) * max_steps)
    if trials > 1 and (taken > full or taken >= max_steps):
        raise LawmError(
            f"policy.trials {trials} of policy.trial_steps {trial_steps} take {taken} updates, and "
            f"of stages.policy.max_steps {max_steps} the first {full} have the full learning rate "
            f"(policy.cooldown {cooldown:g}): the trials would not be alike, or the one that is "
            "chosen would not be trained on. Raise max_steps, or lower one of the two."
        )


__all__ = ["TRIAL_REWARD", "PolicyTrials", "refuse_trials_beyond_the_stage"]
