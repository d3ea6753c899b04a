"""How much of a true state can be read from features by a linear map."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 0.1  # of the standardised features' variance; a tenth of it over-fits six episodes


def linear_probe(features: Tensor, state: Tensor, group: Tensor) -> float:
    """R² of ridge regression under cross-validation, mean over the dimensions of the state.

    The state in each group is predicted by a regression on all other groups. Errors and variances
    are taken over all groups together: one group alone may hardly move.

    Args:
        features: (N, F).
        state: (N, D); dimensions that do not move are left out.
        group: (N,), whole numbers, such as the episode of each row; at least two different ones.

    Returns:
        1 where the state is read without error, 0 where its mean would do as well; NaN if nothing
        moves.
    """
    x, truth = features.double(), state.double()
    predicted = torch.empty_like(truth)
    for number in sorted(set(group.tolist())):
        tested = group == number
        predicted[tested] = _ridge(x[~tested], truth[~tested], x[tested])
    variance = truth.var(dim=0, unbiased=False)
    moves = variance > 1e-12
    error = (predicted - truth).square().mean(dim=0)
    return float((1.0 - error[moves] / variance[moves]).mean())


def _ridge(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Fitted on (N, F) and (N, D), predicted at (M, F): (M, D)."""
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x, at = (x - mean) / std, (at - mean) / std
    gram = x.t() @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    predicted: Tensor = at @ torch.linalg.solve(gram, x.t() @ (y - y.mean(0))) + y.mean(0)
    return predicted


__all__ = ["linear_probe"]
