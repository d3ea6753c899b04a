"""Flags along time, which formats store as all kinds of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError


def as_flags(values: NDArray[Any], where: str) -> NDArray[np.bool_]:
    """(R,) true where a number is not zero.

    Args:
        values: (R,) or (R, 1) numbers.
        where: What a message calls them.

    Raises:
        LawmError: They are something else.
    """
    if values.dtype.kind not in "biuf" or values.shape[1:] not in ((), (1,)) or not values.ndim:
        raise LawmError(
            f"{where} has type {values.dtype} and shape {values.shape}; expected a flag a row."
        )
    flags: NDArray[np.bool_] = values.reshape(-1).astype(np.bool_)
    return flags


__all__ = ["as_flags"]
