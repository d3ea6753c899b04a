"""Optimisers and the learning rate over a stage, as Lightning takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lawm.fused.optimizer import FusedAdamW
from lawm.schedules import warmup_and_cooldown


def adamw(
    model: nn.Module, learning_rate: float, weight_decay: float, *more: dict[str, Any]
) -> FusedAdamW:
    """AdamW with decay on the matrices alone, not on biases and scales.

    Args:
        model: Whose parameters are trained.
        learning_rate: Of all groups that set none.
        weight_decay: Of the matrices.
        more: Further parameter groups, as torch takes them, with what they set for parameters of
            the model, or with other parameters.
    """
    apart = {id(p) for group in more for p in group["params"]}
    parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
        *more,
    ]
    return FusedAdamW(groups, lr=learning_rate)


def with_schedule(
    optimizer: torch.optim.Optimizer, total_steps: int, *, warmup_steps: int = 0, cooldown: float
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns.

    Args:
        optimizer: Whose learning rate is scheduled.
        total_steps: Of the stage; below 1 where they are not limited.
        warmup_steps: See :func:`~lawm.schedules.warmup_and_cooldown`.
        cooldown: Likewise.
    """
    factor = warmup_and_cooldown(warmup_steps, total_steps, cooldown)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


__all__ = ["adamw", "with_schedule"]
