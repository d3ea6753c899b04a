"""How much of a true state can be read from features by a linear map."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-2  # of the standardised features' variance


def linear_probe(
    features: Tensor, state: Tensor, test_features: Tensor, test_state: Tensor
) -> float:
    """R² of ridge regression, mean over the dimensions of the state.

    Args:
        features: (N, F) that the regression is fitted on.
        state: (N, D) likewise.
        test_features: (M, F) that it is measured on.
        test_state: (M, D) likewise; dimensions that do not move are left out.

    Returns:
        1 where the state is read without error, 0 where its mean would do as well; NaN if nothing
        moves.
    """
    mean, std = features.double().mean(0), features.double().std(0).clamp_min(1e-6)
    x, y = (features.double() - mean) / std, state.double()
    gram = x.t() @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, x.t() @ (y - y.mean(0)))
    predicted = (test_features.double() - mean) / std @ weight + y.mean(0)
    truth = test_state.double()
    variance = truth.var(dim=0, unbiased=False)
    moves = variance > 1e-12
    error = (predicted - truth).square().mean(dim=0)
    return float((1.0 - error[moves] / variance[moves]).mean())


__all__ = ["linear_probe"]
