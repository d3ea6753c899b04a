"""Behaviour policies: what acts while trajectories are collected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lawm.data_modules.episode import Episode
from lawm.envs import Environment, make_env
from lawm.renderer_spec import RendererSpec


class Behaviour(Protocol):
    """Acts in an environment and hands over every whole episode as soon as it ends."""

    @property
    def num_steps(self) -> int:
        """Agent steps that count towards the budget, taken so far."""
        ...

    def episodes(self) -> Iterator[Episode]:
        """Act until the budget of agent steps is spent; an unfinished episode is dropped."""
        ...

    def settings(self) -> dict[str, Any]:
        """Name and hyper-parameters, for the provenance; plain values."""
        ...


@dataclass(frozen=True)
class Kept:
    """What is kept of an episode beside actions and rewards."""

    physics: bool = False  # the simulator's state at every observation
    states: bool = True  # what the behaviour observes; without, the pictures alone
    renderer: RendererSpec | None = None  # of pictures at every observation

    def make_env(self, env_id: str, action_repeat: int, seed: int) -> Environment:
        """The environment that gives what is to be kept, and states to act on in any case."""
        return make_env(env_id, action_repeat, seed, self.renderer)


_STATES = Kept()


class EpisodeRecorder:
    """An environment that keeps what happens and gives it out as :class:`Episode`.

    Args:
        env: Where to act.
        source: Begins the source id of every episode; its number within the source follows.
        kept: What of it.
    """

    def __init__(self, env: Environment, source: str, kept: Kept = _STATES) -> None:
        self.env = env
        self.num_steps = 0
        self._source = source
        self._kept = kept
        self._num_episodes = 0
        self._finished: list[Episode] = []
        self._obs: list[dict[str, np.ndarray]] = []
        self._action: list[np.ndarray] = []
        self._reward: list[float] = []
        self._physics: list[np.ndarray] = []

    def reset(self) -> dict[str, np.ndarray]:
        """Start an episode; the one before, if unfinished, is dropped."""
        self._obs, self._action, self._reward, self._physics = [], [], [], []
        obs = self.env.reset()
        self._observe(obs)
        return obs

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool]:
        """Act as :meth:`Environment.step` does, with just the float32 numbers that are kept."""
        action = np.array(action, dtype=np.float32)
        obs, reward, terminated, truncated = self.env.step(action)
        self.num_steps += 1
        self._action.append(action)
        self._reward.append(reward)
        self._observe(obs)
        if terminated or truncated:
            self._finish(terminated, truncated)
        return obs, reward, terminated, truncated

    def pop_finished(self) -> list[Episode]:
        """The episodes that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def _observe(self, obs: dict[str, np.ndarray]) -> None:
        pictures = self._kept.renderer.cameras if self._kept.renderer else {}
        self._obs.append({k: v for k, v in obs.items() if self._kept.states or k in pictures})
        if self._kept.physics:
            self._physics.append(self.env.physics_state())

    def _finish(self, terminated: bool, truncated: bool) -> None:
        self._finished.append(
            Episode(
                obs={key: np.stack([obs[key] for obs in self._obs]) for key in self._obs[0]},
                action=np.stack(self._action),
                reward=np.array(self._reward, dtype=np.float32),
                terminated=terminated,
                truncated=truncated,
                source_id=f"{self._source}/{self._num_episodes}",
                physics=np.stack(self._physics) if self._kept.physics else None,
            )
        )
        self._num_episodes += 1


class RandomBehaviour:
    """Actions drawn uniformly between the environment's bounds.

    Args:
        env_id: Where to act.
        action_repeat: Control steps that one action is held for.
        steps: Budget of agent steps.
        seed: Of the start states and the actions.
        kept: What is kept of the episodes.

    Raises:
        LawmError: No such environment.
    """

    def __init__(
        self, env_id: str, *, action_repeat: int, steps: int, seed: int, kept: Kept = _STATES
    ) -> None:
        env = kept.make_env(env_id, action_repeat, seed)
        self._recorder = EpisodeRecorder(env, "random", kept)
        self._steps = steps
        self._rng = np.random.default_rng(seed)

    @property
    def num_steps(self) -> int:
        """Agent steps taken so far."""
        return self._recorder.num_steps

    def episodes(self) -> Iterator[Episode]:
        """See :meth:`Behaviour.episodes`."""
        low, high = self._recorder.env.action_low, self._recorder.env.action_high
        ended = True
        while self._recorder.num_steps < self._steps:
            if ended:
                self._recorder.reset()
            _, _, terminated, truncated = self._recorder.step(self._rng.uniform(low, high))
            ended = terminated or truncated
            yield from self._recorder.pop_finished()

    def settings(self) -> dict[str, Any]:
        """See :meth:`Behaviour.settings`."""
        return {"name": "random", "distribution": "uniform between the action bounds"}


__all__ = ["Behaviour", "EpisodeRecorder", "Kept", "RandomBehaviour"]
