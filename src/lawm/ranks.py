"""Which process of a run this is, and what all processes know together."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor


def is_rank_zero() -> bool:
    """Whether this process writes files and speaks to the user; known before a Trainer exists."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def of_all_ranks(trainer: pl.Trainer, value: Tensor) -> Tensor:
    """The values of all processes, ``(world, *shape)``, without gradient; a collective call.

    Args:
        trainer: Whose processes.
        value: Of this process, of one shape everywhere.
    """
    value = value.detach().to(trainer.strategy.root_device)
    if trainer.world_size == 1:
        return value[None]
    gathered = [torch.empty_like(value) for _ in range(trainer.world_size)]
    dist.all_gather(gathered, value.contiguous())
    return torch.stack(gathered)


def of_this_rank(trainer: pl.Trainer, values: Tensor) -> Tensor | None:
    """This process's row of :func:`of_all_ranks`; None if there were more or fewer processes."""
    if len(values) != trainer.world_size:
        return None
    return values[trainer.global_rank].clone()  # torch.set_rng_state crashes on a view


__all__ = ["is_rank_zero", "of_all_ranks", "of_this_rank"]
