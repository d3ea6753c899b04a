"""Chooses among the policies of a run without the environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor

from lawm.callbacks.policy_look import PolicyLookCallback
from lawm.random_state import random_state_kept
from lawm.rssm import ModelState

IMAGINED_REWARD = "selection/imagined_reward"
NUM_STARTS, NUM_STEPS = 512, 100  # of the rollouts: each process's, and their length


class ImaginesRewards(Protocol):
    """A module whose policy can be tried in imagination."""

    def rollout_reward(self, start: ModelState, num_steps: int) -> Tensor:
        """Mean reward of the policy as it acts, from each of N starts: (N,)."""
        ...


class OfflineSelectionCallback(PolicyLookCallback):
    """Keeps the policy with the highest reward in long imagined rollouts.

    Model-based off-policy evaluation, one of the methods that Fu et al., "Benchmarks for Deep
    Off-Policy Evaluation" (ICLR 2021), compare: what is trained with a horizon of some steps and a
    critic behind it is judged over many more steps without the critic. The starts are states of the
    data and, like the random numbers, the same every time, so that policies are compared on equal
    terms. It says nothing of where the world model is wrong; where the policy exploits it for long,
    the policy is chosen nonetheless.

    Args:
        starts: Gives that many states of this process's share of the data.
        every_n_steps: Global steps between two looks; the last policy is looked at, too.
        checkpoint_path: Weights of the policy that is chosen so far.
        num_starts: Rollouts of each process.
        num_steps: Their length.
        seed: Of the model's samples.

    Attributes:
        points: Step and mean imagined reward of each policy looked at.
        selected: The point with the highest reward, the earliest if there are several.
    """

    def __init__(
        self,
        starts: Callable[[int], ModelState],
        every_n_steps: int,
        checkpoint_path: str | Path | None = None,
        num_starts: int = NUM_STARTS,
        num_steps: int = NUM_STEPS,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_steps)
        self._starts = starts
        self._checkpoint_path = checkpoint_path
        self._num_starts, self._num_steps, self._seed = num_starts, num_steps, seed
        self.points: list[tuple[int, float]] = []

    @property
    def selected(self) -> tuple[int, float] | None:
        """None before the first look."""
        return max(self.points, key=lambda point: _rank(point[1]), default=None)

    def state_dict(self) -> dict[str, Any]:
        """The points so far."""
        return {"points": self.points}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from those of the checkpoint."""
        self.points = [(step, reward) for step, reward in state_dict["points"]]

    def look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, final: bool) -> None:
        """Let the policy act in imagination, and save it if nothing earned more so far."""
        del final
        reward = imagined_reward(
            trainer, pl_module, self._starts, self._seed, self._num_starts, self._num_steps
        )
        before = self.selected
        self.points.append((trainer.global_step, reward))
        for logger in trainer.loggers:
            logger.log_metrics({IMAGINED_REWARD: reward}, trainer.global_step)
        # A collective call: all ranks have the same mean
        if self._checkpoint_path and (before is None or _rank(reward) > _rank(before[1])):
            trainer.save_checkpoint(self._checkpoint_path, weights_only=True)


@torch.no_grad()
def imagined_reward(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    starts: Callable[[int], ModelState],
    seed: int,
    num_starts: int = NUM_STARTS,
    num_steps: int = NUM_STEPS,
) -> float:
    """Mean reward of a policy in long imagined rollouts, over all processes; a collective call.

    Starts and random numbers are the same at every call, and training's are left alone.
    """
    start = starts(num_starts).to(module.device)
    with random_state_kept(module.device):
        torch.manual_seed(seed + trainer.global_rank)
        rewards = _imagines(module).rollout_reward(start, num_steps)
    return float(trainer.strategy.reduce(rewards.mean(), reduce_op="mean"))


def _rank(reward: float) -> float:
    return reward if math.isfinite(reward) else -math.inf  # nothing compares with NaN


def _imagines(module: pl.LightningModule) -> ImaginesRewards:
    return module  # type: ignore[return-value]  # the policy's module, see the class docstring


__all__ = ["IMAGINED_REWARD", "OfflineSelectionCallback", "imagined_reward"]
