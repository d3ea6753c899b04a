"""Rewards of a dm_control task from simulator states alone, as ExORL computes them.

The reward of a state is what the task gives on arriving there. That is one control step: a state
that ends a longer action does not tell of the steps before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.envs.dm_control import DMControlEnvironment
from lawm.envs.registry import make_env
from lawm.errors import LawmError


class RewardRelabeller:
    """Puts a task's simulator into given states and asks for the reward there.

    Args:
        env_id: Such as ``dm_control/walker-walk``.

    Raises:
        LawmError: There is no such task, or it is none of dm_control's.
    """

    def __init__(self, env_id: str) -> None:
        env = make_env(env_id, 1)
        if not isinstance(env, DMControlEnvironment):
            raise LawmError(
                f"Rewards cannot be computed for {env_id}: only dm_control tasks give them for a "
                "state of the simulator."
            )
        env.reset()
        self._env, self._env_id = env, env_id

    def rewards(
        self, states: NDArray[Any], actions: NDArray[Any] | None, where: str
    ) -> NDArray[np.float32]:
        """(R,) the reward on arriving at each state.

        Args:
            states: (R, P) simulator states.
            actions: (R, A) the action that led into each, which some tasks charge for; None where
                unknown.
            where: What a message calls the episode.

        Raises:
            LawmError: The states or actions are not this task's.
        """
        size, num = len(self._env.physics_state()), len(self._env.action_low)
        if states.ndim != 2 or states.shape[1] != size or not np.isfinite(states).all():
            raise LawmError(
                f"The simulator states of {where} have type {states.dtype} and shape "
                f"{states.shape}; expected {size} finite numbers a row, as {self._env_id} has. "
                "Name the task's own domain with --env."
            )
        if actions is not None and actions.shape != (len(states), num):
            raise LawmError(
                f"The actions of {where} have shape {actions.shape}; expected "
                f"{(len(states), num)}, as {self._env_id} has. Name the task's own domain."
            )
        controls = np.zeros((len(states), num)) if actions is None else np.nan_to_num(actions)
        return np.array(
            [self._env.reward_at(*pair) for pair in zip(states, controls, strict=True)],
            dtype=np.float32,
        )


__all__ = ["RewardRelabeller"]
