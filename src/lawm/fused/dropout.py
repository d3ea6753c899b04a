"""Dropout masks from 16 random bits a unit.

PyTorch draws a double from a serial generator for each unit on a CPU: 16 ns, for the action decoder
alone a tenth of an update.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout_mask(like: Tensor, p: float) -> Tensor:
    """Zeros with probability p, to 1 in 65536, and else ``1 / (1 - p)``; shaped as ``like``."""
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: like.numel()].view(like.shape)
    dropped = round(p * 65536)
    return (bits >= dropped - 32768).to(like.dtype).mul_(65536 / (65536 - dropped))


class Dropout(nn.Dropout):
    """``nn.Dropout`` with a cheaper mask on a CPU."""

    def mask(self, like: Tensor) -> Tensor | None:
        """What a tensor like this one would be multiplied with; None for nothing."""
        if not self.training or self.p == 0.0:
            return None
        if like.device.type == "cpu" and self.p < 1.0:
            return dropout_mask(like, self.p)
        return F.dropout(torch.ones_like(like), self.p)

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        mask = self.mask(input)
        return input if mask is None else input * mask


__all__ = ["Dropout"]
