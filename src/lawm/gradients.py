"""Values as they are, with less of their gradient."""

from __future__ import annotations

from torch import Tensor


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """x, with its gradient multiplied by ``factor``; with 0 it is cut out of the graph."""
    constant = x.detach()
    if factor == 0.0:
        return constant
    return constant + factor * (x - constant)


__all__ = ["scaled_gradient"]
