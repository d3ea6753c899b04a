"""Soft actor-critic as the behaviour policy: it learns while it is recorded.

The learner is that of stable-baselines3 (https://github.com/DLR-RM/stable-baselines3, MIT), the
optional extra ``collect``; nothing else in lawm needs it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lawm.data_modules.behaviour import EpisodeRecorder, Kept
from lawm.data_modules.episode import Episode
from lawm.errors import LawmError

if TYPE_CHECKING:
    from stable_baselines3 import SAC

Keep = Literal["replay", "rollouts", "both"]

LEARN_SLICE = 100  # agent steps between two looks for finished episodes
_STATES = Kept()
ROLLOUT_SEED = 1_000_003  # added to the seed: rollouts start elsewhere than training does


class SacBehaviour:
    """Trains SAC; keeps its replay, or rollouts of its checkpoints, or both.

    Two layers of 256, learning rate 3e-4, discount 0.99, batches of 256, one update per agent
    step; the first 100 steps are uniformly random. Time limits are bootstrapped through, as the
    task goes on beyond them. Rollouts sample their actions, as the replay does.

    Args:
        env_id: Where to act; an environment with the observation key ``state``.
        action_repeat: Control steps that one action is held for.
        steps: Budget of agent steps of the training; rollouts come on top.
        seed: Of the start states, the networks and the sampling.
        keep: What becomes episodes: the replay, rollouts of checkpoints, or both.
        checkpoint_every: Agent steps from one checkpoint to the next.
        rollout_episodes: Episodes of each checkpoint.
        kept: What is kept of the episodes.

    Raises:
        LawmError: stable-baselines3 is missing, or no such environment.
    """

    def __init__(
        self,
        env_id: str,
        *,
        action_repeat: int,
        steps: int,
        seed: int,
        keep: Keep = "replay",
        checkpoint_every: int = 10_000,
        rollout_episodes: int = 5,
        kept: Kept = _STATES,
    ) -> None:
        if importlib.util.find_spec("stable_baselines3") is None:
            raise LawmError(
                "The behaviour policy `sac` needs stable-baselines3, which is not installed. Run "
                "`pip install -e '.[collect]'`, or take `--policy random`."
            )
        # what is not kept is not rendered either: the learner acts on states
        self._replay, self._rollouts = (
            EpisodeRecorder(what.make_env(env_id, action_repeat, seed + shift), source, what)
            for shift, source, what in (
                (0, "sac/replay", kept if keep != "rollouts" else _STATES),
                (ROLLOUT_SEED, "sac/rollout", kept if keep != "replay" else _STATES),
            )
        )
        self._steps = steps
        self._seed = seed
        self._keep = keep
        self._checkpoint_every = checkpoint_every
        self._rollout_episodes = rollout_episodes
        self._hyper_parameters: dict[str, Any] = {
            "policy_kwargs": {"net_arch": [256, 256]},
            "learning_rate": 3e-4,
            "gamma": 0.99,
            "batch_size": 256,
            "buffer_size": steps,
            "learning_starts": 100,
            "train_freq": 1,
            "gradient_steps": 1,
            "replay_buffer_kwargs": {"handle_timeout_termination": True},
        }

    @property
    def num_steps(self) -> int:
        """Agent steps of the training taken so far."""
        return self._replay.num_steps

    def settings(self) -> dict[str, Any]:
        """See :meth:`Behaviour.settings`."""
        values = {"name": "sac", "keep": self._keep, **self._hyper_parameters}
        if self._keep != "replay":
            values["checkpoint_every"] = self._checkpoint_every
            values["rollout_episodes"] = self._rollout_episodes
        return values

    def episodes(self) -> Iterator[Episode]:
        """See :meth:`Behaviour.episodes`; uses one torch thread while it runs."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # networks this small lose more than they gain by a second one
        try:
            yield from self._episodes()
        finally:
            torch.set_num_threads(threads)

    def _episodes(self) -> Iterator[Episode]:
        from stable_baselines3 import SAC

        from lawm.data_modules.gymnasium_adapter import GymnasiumAdapter

        env = GymnasiumAdapter(self._replay)
        settings = deepcopy(self._hyper_parameters)  # SAC writes into what it is given
        learner = SAC("MlpPolicy", env, seed=self._seed, device="cpu", **settings)
        checkpoint = self._checkpoint_every
        while self.num_steps < self._steps:
            goal = min(self.num_steps + LEARN_SLICE, checkpoint, self._steps)
            learner.learn(goal - self.num_steps, reset_num_timesteps=False)
            finished = self._replay.pop_finished()
            if self._keep != "rollouts":
                yield from finished
            if self.num_steps == checkpoint:
                checkpoint += self._checkpoint_every
                if self._keep != "replay":
                    yield from self._roll_out(learner)

    def _roll_out(self, learner: SAC) -> Iterator[Episode]:
        """Episodes of the policy as it is now; the training goes on as if they were not there."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed + ROLLOUT_SEED + self.num_steps)
            for _ in range(self._rollout_episodes):
                obs, ended = self._rollouts.reset(), False
                while not ended:
                    action, _ = learner.predict(obs["state"], deterministic=False)
                    obs, _, terminated, truncated = self._rollouts.step(np.asarray(action))
                    ended = terminated or truncated
        yield from self._rollouts.pop_finished()


__all__ = ["Keep", "SacBehaviour"]
