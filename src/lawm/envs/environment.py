"""The interface through which everything here talks to a simulator."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Environment(Protocol):
    """A simulated task, one episode at a time.

    One call of :meth:`step` holds the action for ``action_repeat`` control steps.
    """

    env_id: str  # "<suite>/<name>", e.g. "dm_control/cheetah-run"
    action_repeat: int  # control steps that one action is held for
    control_timestep: float  # simulated seconds of one control step, before action repeat
    action_low: np.ndarray  # (A,) float64
    action_high: np.ndarray  # (A,) float64

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Start an episode.

        Args:
            seed: Makes the episode a function of this number and the actions alone; None goes on
                with the random stream that the environment has.

        Returns:
            The first observation, by key: float32 states or uint8 images (H, W, C).
        """
        ...

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool]:
        """Take one action.

        Args:
            action: (A,) in the environment's units.

        Returns:
            The next observation, the reward summed over the repeat, whether the task ended
            (``terminated``), and whether time alone ended the episode (``truncated``).
        """
        ...

    def physics_state(self) -> np.ndarray:
        """The simulator's full state, (P,) float64."""
        ...

    def camera_names(self) -> tuple[str, ...]:
        """The cameras in their order, each by its name or, where it has none, its number."""
        ...

    def render(self, height: int, width: int, camera: int | str) -> np.ndarray:
        """A picture of the present state, (height, width, 3) uint8.

        Args:
            height: Pixels.
            width: Pixels.
            camera: One of :meth:`camera_names`, or its number.
        """
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


__all__ = ["Environment"]
