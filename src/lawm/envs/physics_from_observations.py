"""Simulator states of dm_control tasks from their observations, where these tell enough.

Many data sets hold states without the simulator's own. In some domains the observation gives every
position and velocity but the place along a track without landmarks, which is integrated from its
velocity here: it moves the pattern of the floor, and the camera along. Rotations come back up to
full turns. Observations are float32, so that positions are good to some 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

States = NDArray[np.float64]
_Inverse = Callable[[States, float], States]  # (T, D) and seconds between two rows to (T, P)

WALKER_TORSO_HEIGHT = 1.3  # of the model at rest, to which its root is relative


def physics_from_observations(env_id: str, obs: NDArray[np.float32], seconds: float) -> States:
    """The simulator states of one episode.

    They are to be verified: put into the simulator, they must give the observations back.

    Args:
        env_id: ``"dm_control/<domain>-<task>"``.
        obs: (T, D), the key ``state``.
        seconds: From one observation to the next.

    Returns:
        (T, P), positions first, then velocities.

    Raises:
        LawmError: The observations of this domain tell too little, or are of another width.
    """
    domain = env_id.removeprefix("dm_control/").rsplit("-", 1)[0]
    if domain not in _INVERSES:
        raise LawmError(
            f"The observations of {env_id} do not determine the simulator's state; those of "
            f"{', '.join(_INVERSES)} do. Collect the data again with --store-physics or --pixels."
        )
    inverse, width = _INVERSES[domain]
    if obs.ndim != 2 or obs.shape[1] != width:
        raise LawmError(
            f"The observations of {env_id} have shape {obs.shape}; expected {width} numbers a row "
            f"to work the simulator's state of {domain} out."
        )
    return inverse(obs.astype(np.float64), seconds)


def _walker(obs: States, seconds: float) -> States:
    """Directions (cos, sin) of 7 bodies, height, 9 velocities."""
    # (T, 7) of each body in the world; the joints of the legs turn against the torso's
    angle = np.arctan2(-obs[:, 1:14:2], obs[:, 0:14:2])
    height, velocity = obs[:, 14], obs[:, 15:]
    torso, right, left = angle[:, 0], angle[:, 1:4], angle[:, 4:7]
    joints = [
        np.diff(np.column_stack([torso, leg]), axis=1)  # hip, knee and ankle
        for leg in (right, left)
    ]
    return np.column_stack(
        [
            height - WALKER_TORSO_HEIGHT,
            _integrated(velocity[:, 1], seconds),
            -torso,
            *(_within_half_turn(joint) for joint in joints),
            velocity,
        ]
    )


def _all_but_x(num_positions: int) -> _Inverse:
    """Positions but the first, and all velocities."""

    def inverse(obs: States, seconds: float) -> States:
        position = obs[:, : num_positions - 1]
        velocity = obs[:, num_positions - 1 : 2 * num_positions - 1]
        return np.column_stack([_integrated(velocity[:, 0], seconds), position, velocity])

    return inverse


def _as_they_are(obs: States, seconds: float) -> States:
    del seconds
    return obs


def _cartpole(obs: States, seconds: float) -> States:
    """Place, cosine and sine of the pole, 2 velocities."""
    del seconds
    return np.column_stack([obs[:, 0], np.arctan2(obs[:, 2], obs[:, 1]), obs[:, 3:]])


def _pendulum(obs: States, seconds: float) -> States:
    """Cosine and sine of the pole, its velocity."""
    del seconds
    return np.column_stack([np.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2]])


def _acrobot(obs: States, seconds: float) -> States:
    """Sines of upper and lower arm, cosines of both, 2 velocities."""
    del seconds
    upper = np.arctan2(obs[:, 0], obs[:, 2])
    lower = np.arctan2(obs[:, 1], obs[:, 3])
    return np.column_stack([upper, _within_half_turn(lower - upper), obs[:, 4:]])


def _integrated(velocity: States, seconds: float) -> States:
    """(T,) from 0 on, by the trapezoidal rule."""
    steps = 0.5 * (velocity[1:] + velocity[:-1]) * seconds
    return np.concatenate([[0.0], np.cumsum(steps)])


def _within_half_turn(angle: States) -> States:
    wrapped: States = (angle + np.pi) % (2.0 * np.pi) - np.pi
    return wrapped


_INVERSES: dict[str, tuple[_Inverse, int]] = {  # and the width of the observation
    "acrobot": (_acrobot, 6),
    "ball_in_cup": (_as_they_are, 8),
    "cartpole": (_cartpole, 5),
    "cheetah": (_all_but_x(9), 17),
    "hopper": (_all_but_x(7), 15),
    "pendulum": (_pendulum, 3),
    "point_mass": (_as_they_are, 4),
    "walker": (_walker, 24),
}
DOMAINS = tuple(_INVERSES)

__all__ = ["DOMAINS", "physics_from_observations"]
