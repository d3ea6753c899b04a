"""One trajectory in memory, and what it must satisfy to enter a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lawm.errors import LawmError

BOUND_TOLERANCE = 1e-5  # of their range; float32 actions may stand a rounding beyond their bounds


@dataclass(frozen=True, eq=False)
class Episode:
    """T transitions, hence T + 1 observations; what is unknown is None."""

    obs: dict[str, NDArray[Any]]  # each (T + 1, D) float32 or (T + 1, H, W, C) uint8
    action: NDArray[np.float32] | None  # (T, A) in the environment's units
    reward: NDArray[np.float32] | None  # (T,) summed over the action repeat
    terminated: bool  # the last transition ended the task
    truncated: bool  # the last transition met a time limit
    source_id: str
    physics: NDArray[np.float64] | None = None  # (T + 1, P) simulator states

    @property
    def num_rows(self) -> int:
        """T + 1."""
        return len(next(iter(self.obs.values())))

    @property
    def episode_return(self) -> float:
        """Sum of the rewards; NaN where they are unknown."""
        return float("nan") if self.reward is None else float(self.reward.sum(dtype=np.float64))


def checked_episode(
    where: str,
    action_dim: int,
    *,
    obs: Mapping[str, ArrayLike],
    action: ArrayLike | None,
    reward: ArrayLike | None,
    terminated: bool,
    truncated: bool,
    source_id: str,
    physics: ArrayLike | None = None,
) -> Episode:
    """An episode of copied arrays whose types, shapes and values fit the format.

    Args:
        where: What a message calls the episode.
        action_dim: A.
        obs: By key, (T + 1, D) floats or (T + 1, H, W, C) uint8.
        action: (T, A) or None.
        reward: (T,) or None.
        terminated: See :class:`Episode`.
        truncated: See :class:`Episode`.
        source_id: See :class:`Episode`.
        physics: (T + 1, P) or None.

    Raises:
        LawmError: Observations without keys, shapes that do not fit, or numbers that are not
            finite.
    """
    if not isinstance(obs, Mapping):
        raise LawmError(
            f"{where} has observations of type {type(obs).__name__}; expected a dict of arrays by "
            "key, such as {'state': states}."
        )
    states = {key: _observation(where, key, obs[key]) for key in sorted(obs)}
    num_rows = {len(values) for values in states.values()}
    if len(num_rows) != 1 or min(num_rows) < 2:
        raise LawmError(
            f"{where} has observations of { ({key: len(v) for key, v in states.items()}) } rows; "
            "expected one key or more, all with the same number of rows, and at least two."
        )
    (rows,) = num_rows
    return Episode(
        obs=states,
        action=_numbers(where, "actions", action, np.float32, (rows - 1, action_dim)),
        reward=_numbers(where, "rewards", reward, np.float32, (rows - 1,)),
        terminated=bool(terminated),
        truncated=bool(truncated),
        source_id=source_id,
        physics=_numbers(where, "physics", physics, np.float64, (rows, None)),
    )


def refuse_beyond_bounds(
    where: str,
    action: NDArray[np.float32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Refuse actions that training would clip.

    Args:
        where: What a message calls the episode.
        action: (T, A).
        low: (A,) bounds.
        high: (A,).

    Raises:
        LawmError: Says how many values, and which is the farthest off.
    """
    rounding = np.finfo(np.float32).eps * np.maximum(abs(low), abs(high))
    slack = BOUND_TOLERANCE * (high - low) + rounding
    beyond = np.maximum(low - action, action - high)  # (T, A) how far
    outside = beyond > slack
    if outside.any():
        step, number = np.unravel_index(np.argmax(beyond), beyond.shape)
        raise LawmError(
            f"{where} has actions beyond their bounds in {outside.mean():.2g} of the values, which "
            f"training would clip; the farthest is {action[step, number]:g} in dimension {number}, "
            f"expected {low[number]:g} to {high[number]:g}. Give the bounds of these actions as "
            "action_low and action_high, or bring the actions into the units of the bounds."
        )


def check_same_layout(where: str, first: Episode, other: Episode) -> None:
    """Refuse an episode whose observations or physics differ in kind from the first one's.

    Raises:
        LawmError: Names the episode, what it has and what was expected.
    """
    expected, found = _layout(first), _layout(other)
    if expected != found:
        raise LawmError(
            f"{where} has {found}; expected {expected} as in the episodes before. A shard holds "
            "one kind of episode."
        )


def _layout(episode: Episode) -> dict[str, str]:
    """Type and shape of one step, by name."""
    arrays = {f"obs/{key}": values for key, values in episode.obs.items()}
    if episode.physics is not None:
        arrays["physics"] = episode.physics
    return {name: f"{values.dtype} {values.shape[1:]}" for name, values in arrays.items()}


def _observation(where: str, key: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if not key or "/" in key:
        raise LawmError(f"{where} has an observation named {key!r}; expected a name without '/'.")
    if array.dtype == np.uint8 and array.ndim == 4:
        return array.copy()
    if array.dtype.kind == "f" and array.ndim == 2:
        return _finite(where, f"observations {key!r}", array, np.float32)
    raise LawmError(
        f"{where} has observations {key!r} of type {array.dtype} and shape {array.shape}; expected "
        "floats (T + 1, D) or uint8 images (T + 1, H, W, C)."
    )


def _numbers(
    where: str, name: str, values: ArrayLike | None, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> NDArray[Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(
        want in (None, have) for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        raise LawmError(
            f"{where} has {name} of type {array.dtype} and shape {array.shape}; expected numbers "
            f"of shape {shape}, with one observation more than actions and rewards."
        )
    return _finite(where, name, array, dtype)


def _finite(where: str, name: str, array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        values: NDArray[Any] = array.astype(dtype)
    at_fault = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if at_fault.any():
        raise LawmError(
            f"{where} has {name} that are NaN, infinite or beyond {np.dtype(dtype)} in "
            f"{at_fault.sum()} rows, the first of them row {at_fault.argmax()}; expected finite "
            "numbers, or none at all where they are unknown."
        )
    return values


__all__ = [
    "BOUND_TOLERANCE",
    "Episode",
    "check_same_layout",
    "checked_episode",
    "refuse_beyond_bounds",
]
