"""Which process of a run this is, known before any Trainer exists."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_rank_zero() -> bool:
    """Whether this process writes files and speaks to the user."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


__all__ = ["is_rank_zero"]
