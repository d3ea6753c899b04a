"""From a source's rows to lawm's: T + 1 observations, T actions taken AT the first T of them.

Rows that lie between the observations stay as they are. Of R shared rows, the ones that were taken
at their observation lose the last, whose outcome the source does not hold; the ones that led into
theirs lose row 0, which is a dummy. Nothing is ever made up: no observation, no zero for an action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import Convention, RawEpisode
from lawm.errors import LawmError


@dataclass(frozen=True, eq=False)
class Transitions:
    """What an episode's R rows become; T = R - 1."""

    action: NDArray[Any] | None  # (T, A) floats; None where absent
    reward: NDArray[Any] | None  # (T,); None where absent
    lost_action: bool  # the last row held a real action (not zero, not NaN), which is dropped
    lost_reward: float  # the reward of that row; 0 where there is none
    odd_dummy: bool  # row 0, which is dropped as a dummy, held an action or a reward


def check_rows(raw: RawEpisode, where: str) -> None:
    """Refuse observations that are not R rows.

    Args:
        raw: As its importer gives it.
        where: The source, for messages.

    Raises:
        LawmError: Names the episode and the key.
    """
    for key, values in raw.obs.items():
        if values.ndim < 1 or len(values) != raw.num_rows:
            raise LawmError(
                f"`{key}` of {raw.source_id} in {where} has shape {values.shape}; expected "
                f"{raw.num_rows} rows, as its other arrays have."
            )


def to_transitions(
    raw: RawEpisode,
    action_convention: Convention | None,
    reward_convention: Convention | None,
    where: str,
) -> Transitions:
    """Drop the row of actions and rewards that belongs to no pair of observations.

    Args:
        raw: As its importer gives it.
        action_convention: Of shared rows; None where actions lie between the observations.
        reward_convention: Likewise for rewards.
        where: The source, for messages.

    Raises:
        LawmError: The numbers of rows do not fit, actions are not numbers in a row, or the
            convention of shared rows is not known.
    """
    name = f"{raw.source_id} in {where}"
    check_rows(raw, where)
    action = None if raw.action is None else as_action_rows(raw.action, name)
    reward = None if raw.reward is None else _scalars(raw.reward, name)
    kept_action, spare_action = _between(action, raw.num_rows, action_convention, "actions", name)
    kept_reward, spare_reward = _between(reward, raw.num_rows, reward_convention, "rewards", name)
    odd_action, odd_reward = (
        spare is not None and bool(np.nan_to_num(spare).any())
        for spare in (spare_action, spare_reward)
    )
    reward_lost = odd_reward and reward_convention == "taken_at"
    return Transitions(
        action=_known(kept_action),
        reward=_known(kept_reward),
        lost_action=odd_action and action_convention == "taken_at",
        lost_reward=float(spare_reward) if reward_lost and spare_reward is not None else 0.0,
        odd_dummy=(odd_action and action_convention == "led_into")
        or (odd_reward and reward_convention == "led_into"),
    )


def as_action_rows(action: NDArray[Any], name: str) -> NDArray[Any]:
    """Actions as (rows, A) floats.

    Args:
        action: (rows, A) or (rows,).
        name: Of the episode, for messages.

    Raises:
        LawmError: They are something else.
    """
    if action.dtype.kind != "f":
        raise LawmError(
            f"The actions of {name} have type {action.dtype}; expected floats, as lawm models "
            "continuous actions. Import the observations alone with --action-free."
        )
    if action.ndim not in (1, 2) or not all(action.shape[1:]):
        raise LawmError(
            f"The actions of {name} have shape {action.shape}; expected a vector a step. Import "
            "the observations alone with --action-free."
        )
    return action[:, None] if action.ndim == 1 else action


def _scalars(reward: NDArray[Any], name: str) -> NDArray[Any]:
    """(rows,)."""
    values = reward[:, 0] if reward.ndim == 2 and reward.shape[1] == 1 else reward
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise LawmError(
            f"The rewards of {name} have type {reward.dtype} and shape {reward.shape}; expected a "
            "number a step."
        )
    return values.astype(np.float32) if values.dtype.kind != "f" else values


def _between(
    values: NDArray[Any] | None,
    num_rows: int,
    convention: Convention | None,
    what: str,
    name: str,
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The R - 1 rows that belong to a pair of observations, and the one that does not."""
    if values is None or len(values) == num_rows - 1:
        return values, None
    if len(values) != num_rows:
        raise LawmError(
            f"{name} has {len(values)} rows of {what} beside {num_rows} observations; expected "
            f"{num_rows - 1}, or {num_rows} where rows are shared."
        )
    if convention is None:
        raise LawmError(
            f"The {what} of {name} have a row for every observation. Say with --action-convention "
            "whether row t was taken at observation t (taken_at) or led into it (led_into)."
        )
    return (values[:-1], values[-1]) if convention == "taken_at" else (values[1:], values[0])


def _known(values: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if values is None or np.isnan(values).all() else values


__all__ = ["Transitions", "as_action_rows", "check_rows", "to_transitions"]
