"""Several simulators that take their steps together, and the pictures of those that are filmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lawm.envs.environment import Environment
from lawm.envs.simulator_answers import Moment, checked_reset, checked_step


@dataclass(frozen=True)
class Recording:
    """Which episodes to film, and how large."""

    episodes: int = 1  # the first so many
    height: int = 240  # pixels
    width: int = 320  # pixels
    camera: int | str = 0  # of the environment; in the DeepMind Control Suite 0 follows the body


@dataclass(frozen=True)
class Seen:
    """What one simulator gave after a reset or a step."""

    obs: dict[str, np.ndarray]
    reward: float = 0.0
    ended: bool = False  # terminated or truncated
    picture: np.ndarray | None = None  # (height, width, 3) uint8


class Simulators(Protocol):
    """n copies of one environment, here or in another process."""

    frame_seconds: float  # simulated time of one agent step
    action_low: np.ndarray  # (A,) float64
    action_high: np.ndarray  # (A,) float64

    def reset(self, seeds: Sequence[int], recording: Recording | None) -> list[Seen]:
        """Start an episode in each of the first ``len(seeds)`` simulators.

        Args:
            seeds: One for each.
            recording: Give pictures too, here and in every step until the next reset.

        Raises:
            SimulatorFault: One answers what is no observation, or one that is not finite.
        """
        ...

    def step(self, actions: np.ndarray, running: Sequence[int]) -> list[Seen]:
        """Take one step in each of the simulators ``running``.

        Args:
            actions: (n, A), also of those that do not run.
            running: Their numbers.

        Raises:
            SimulatorFault: One answers what is no step, or numbers that are not finite.
        """
        ...

    def close(self) -> None:
        """Free them; they are of no use afterwards."""
        ...


class LocalSimulators:
    """Simulators in this process.

    Args:
        make: Makes one; called at once, so that a wrong name fails here, and again when needed.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        self._make = make
        self._envs = [make()]
        self._recording: Recording | None = None
        self._seeds: list[int] = []  # of the running episodes
        self._steps: list[int] = []  # that they have taken
        first = self._envs[0]
        self.frame_seconds = first.control_timestep * first.action_repeat
        self.action_low = np.asarray(first.action_low, dtype=np.float64)
        self.action_high = np.asarray(first.action_high, dtype=np.float64)

    def reset(self, seeds: Sequence[int], recording: Recording | None) -> list[Seen]:
        """See :class:`Simulators`."""
        while len(self._envs) < len(seeds):
            self._envs.append(self._make())
        self._recording = recording
        self._seeds, self._steps = list(seeds), [0] * len(seeds)
        seen = []
        for i, seed in enumerate(seeds):
            obs = checked_reset(self._envs[i].reset(seed), self._moment(i))
            seen.append(Seen(obs, picture=self._picture(i)))
        return seen

    def step(self, actions: np.ndarray, running: Sequence[int]) -> list[Seen]:
        """See :class:`Simulators`."""
        seen = []
        for i in running:
            answer = self._envs[i].step(actions[i])
            self._steps[i] += 1
            obs, reward, ended = checked_step(answer, self._moment(i))
            seen.append(Seen(obs, reward, ended, self._picture(i)))
        return seen

    def close(self) -> None:
        """See :class:`Simulators`."""
        for env in self._envs:
            env.close()
        self._envs.clear()

    def _moment(self, number: int) -> Moment:
        return Moment(self._envs[number].env_id, self._seeds[number], self._steps[number])

    def _picture(self, number: int) -> np.ndarray | None:
        wanted = self._recording
        if wanted is None or number >= wanted.episodes:
            return None
        return self._envs[number].render(wanted.height, wanted.width, wanted.camera)


__all__ = ["LocalSimulators", "Recording", "Seen", "Simulators"]
