"""What a simulator answers, checked before anything is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lawm.envs.simulator_fault import SimulatorFault

_OBSERVATION = "a mapping from observation keys to arrays"
_STEP = "(observation, reward, terminated, truncated)"


@dataclass(frozen=True)
class Moment:
    """Where in which episode an answer was given."""

    env_id: str
    seed: int  # that the episode was started with
    step: int  # how many steps it has, with this one; 0 after the reset

    def fault(self, given: str, expected: str) -> SimulatorFault:
        """The exception for an answer that no simulator may give."""
        when = f"at step {self.step}" if self.step else "at the reset"
        return SimulatorFault(
            f"{when} of the episode of seed {self.seed} in {self.env_id}, the simulator gave "
            f"{given}; expected {expected}"
        )


def checked_reset(answer: Any, moment: Moment) -> dict[str, np.ndarray]:  # noqa: ANN401
    """The first observation.

    Raises:
        SimulatorFault: The answer is none, or holds a number that is not finite.
    """
    if isinstance(answer, tuple):
        raise moment.fault("a tuple", f"the observation alone, {_OBSERVATION}, without infos")
    return _checked_observation(answer, moment)


def checked_step(
    answer: Any,  # noqa: ANN401
    moment: Moment,
) -> tuple[dict[str, np.ndarray], float, bool]:
    """The next observation, the reward, and whether the episode is over.

    Raises:
        SimulatorFault: The answer is not what :meth:`lawm.envs.Environment.step` promises, or holds
            a number that is not finite.
    """
    if not isinstance(answer, tuple) or len(answer) != 4:
        given = f"a {type(answer).__name__}"
        if isinstance(answer, tuple):
            given = f"a tuple of {len(answer)}"
        raise moment.fault(given, f"the four of {_STEP}, without infos")
    obs, reward, terminated, truncated = answer
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if np.ndim(flag) or np.asarray(flag).dtype.kind not in "bui":
            raise moment.fault(
                f"a {type(flag).__name__} for `{name}`",
                f"True or False, in {_STEP}; a step of (observation, reward, done, info), as of "
                "old versions of gym, does not tell the two ends apart",
            )
    if np.ndim(reward) or np.asarray(reward).dtype.kind not in "fiub":
        shape = f" of shape {np.shape(reward)}" if np.ndim(reward) else ""
        raise moment.fault(f"a {type(reward).__name__}{shape} as the reward", "a number")
    if not np.isfinite(reward):
        raise moment.fault(f"a reward of {reward}", "a finite number")
    return _checked_observation(obs, moment), float(reward), bool(terminated or truncated)


def _checked_observation(obs: Any, moment: Moment) -> dict[str, np.ndarray]:  # noqa: ANN401
    if not isinstance(obs, Mapping):
        raise moment.fault(f"a {type(obs).__name__} as the observation", _OBSERVATION)
    arrays = {key: np.asarray(value) for key, value in obs.items()}
    for key, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise moment.fault(f"an observation '{key}' of type {array.dtype}", "numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise moment.fault(
                f"an observation '{key}' that is {array[index]} at index {list(index)}",
                "finite numbers",
            )
    return arrays


__all__ = ["Moment", "checked_reset", "checked_step"]
