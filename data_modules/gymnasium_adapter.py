"""A recorded environment as stable-baselines3 wants it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from lawm.data_modules.behaviour import EpisodeRecorder
from lawm.errors import LawmError


class GymnasiumAdapter(gymnasium.Env[np.ndarray, np.ndarray]):
    """The key ``state`` as a box, actions in the environment's units; pictures are passed over.

    Raises:
        LawmError: The environment has no such observation, or other numbers beside it.
    """

    def __init__(self, recorder: EpisodeRecorder) -> None:
        self._recorder = recorder
        obs = recorder.env.reset()
        if {key for key, value in obs.items() if value.dtype != np.uint8} != {"state"}:
            raise LawmError(
                f"{recorder.env.env_id} has the observations {sorted(obs)}; the behaviour policy "
                "`sac` needs exactly one, called 'state'. Take `--policy random`."
            )
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, obs["state"].shape)
        low, high = recorder.env.action_low, recorder.env.action_high
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the seed was given to the environment when it was made."""
        return self._recorder.reset()["state"], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        obs, reward, terminated, truncated = self._recorder.step(action)
        return obs["state"], reward, terminated, truncated, {}


__all__ = ["GymnasiumAdapter"]
