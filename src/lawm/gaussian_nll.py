"""The likelihood of a Gaussian with one deviation a dimension: of states and of actions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lawm.fused import gaussian_nll as fused
from lawm.fused.kernels import kernels_usable


def gaussian_nll(mean: Tensor, target: Tensor, std: Tensor, *, squashed: bool = False) -> Tensor:
    """``-log N(target; mean, std)`` in nats, summed over the last dimension.

    Args:
        mean: ``(..., n)``; with ``squashed`` its tanh is meant.
        target: ``(..., n)``.
        std: ``(n,)``.
        squashed: Whether the mean lies within (-1, 1).

    Returns:
        ``(..., )``.
    """
    is_constant = not (torch.is_grad_enabled() and target.requires_grad)
    is_plain = mean.shape == target.shape and mean.shape[-1] > 0
    if is_constant and is_plain and all(kernels_usable(x) for x in (mean, target, std)):
        return fused.gaussian_nll(mean, target, std, squashed)
    error = ((mean.tanh() if squashed else mean) - target) / std
    constant = std.log().sum() + 0.5 * error.shape[-1] * math.log(2.0 * math.pi)
    return 0.5 * error.square().sum(dim=-1) + constant


__all__ = ["gaussian_nll"]
