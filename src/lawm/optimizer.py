"""The optimiser of everything that is fitted to data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adamw(
    model: nn.Module, learning_rate: float, weight_decay: float, *more: dict[str, Any]
) -> torch.optim.AdamW:
    """AdamW with decay on the matrices alone, not on biases and scales.

    Args:
        model: Whose parameters are trained.
        learning_rate: Of all groups that set none.
        weight_decay: Of the matrices.
        more: Further parameter groups, as torch takes them.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
        *more,
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


__all__ = ["adamw"]
