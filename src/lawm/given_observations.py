"""Observations that a caller hands in: the keys, and the kinds of numbers, of the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError
from lawm.spec import DataSpec, ObservationSpec


def require_keys(spec: DataSpec, obs: object) -> None:
    """Refuse what is no mapping with all keys of the data.

    Raises:
        LawmError: It is none, or lacks a key.
    """
    expected = sorted(spec.observations)
    if not isinstance(obs, Mapping):
        hint = ""
        if isinstance(obs, tuple):
            hint = " Of a pair (observation, info), as gymnasium's reset gives, give the first."
        raise LawmError(
            f"The observation is of type {type(obs).__name__}; expected a mapping from each of the "
            f"keys {expected} to an array.{hint}"
        )
    missing = [key for key in spec.observations if key not in obs]
    if missing:
        raise LawmError(
            f"The observation has no key '{missing[0]}'; it has {sorted(obs)}. Training was on "
            f"{expected}: give those."
        )


def require_numbers(key: str, item: ObservationSpec, value: NDArray[np.generic]) -> None:
    """Refuse images that are not uint8, and what is no real number.

    Raises:
        LawmError: The values are of another type than those of the data can be.
    """
    if item.kind == "image" and value.dtype != np.uint8:
        raise LawmError(
            f"Observation '{key}' is of type {value.dtype}; expected images of uint8, 0 to 255. "
            "Give the pictures as they were rendered."
        )
    if value.dtype.kind not in "fiub":
        raise LawmError(
            f"Observation '{key}' is of type {value.dtype}; expected real numbers. Give an array "
            "of float32."
        )


__all__ = ["require_keys", "require_numbers"]
