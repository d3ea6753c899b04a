"""Dropout whose mask is a hash of each unit's number and of one random seed.

PyTorch draws a double from a serial generator for each unit on a CPU: 16 ns, for the action decoder
alone a tenth of an update. A hash needs no memory either: the backward pass takes it again.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from lawm.fused.kernels import kernels_usable
from lawm.fused.structures import CDropout, address, run_kernel

_VALUES = 2**32  # that a hash can have
_LAST = _VALUES - 1


class CDropped(ctypes.Structure):
    """``Dropped`` in kernels.c."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("threads", "steps", "rows", "cols")),
        *((n, ctypes.c_int64) for n in ("step_stride", "row_stride")),
        ("dropout", CDropout),
        *((n, ctypes.c_void_p) for n in ("x", "out")),
    )


class KeptUnits:
    """Which units of a tensor are kept, each with probability ``1 - p``; the seed is torch's."""

    def __init__(self, p: float) -> None:
        self._seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None))
        dropped = min(round(p * _VALUES), _VALUES - 1)
        self._below = dropped - _VALUES // 2
        self._kept = _VALUES / (_VALUES - dropped)

    @property
    def structure(self) -> CDropout:
        """For the kernels."""
        return CDropout(1, self._seed, self._below, self._kept)

    def mask(self, like: Tensor) -> Tensor:
        """Zeros and ``1 / (1 - p)``, shaped as this tensor: ``hash_of`` in arithmetic.h."""
        low, high = self._seed & _LAST, self._seed >> 32 & _LAST
        x = torch.arange(like.numel(), dtype=torch.int64, device=like.device) + low & _LAST
        x = (x ^ x >> 16) * 0x7FEB352D & _LAST
        x = (x ^ x >> 15) + high & _LAST
        x = x * 0x846CA68B & _LAST
        x = x ^ x >> 16
        kept = x.to(torch.int32) >= self._below  # the hash as a signed number
        return kept.to(like.dtype).mul_(self._kept).view(like.shape)


class Dropout(nn.Dropout):
    """``nn.Dropout``, cheaper on a CPU."""

    @property
    def drops(self) -> bool:
        """Whether it drops anything, as things stand now."""
        return self.training and self.p > 0.0

    def forward(self, input: Tensor) -> Tensor:
        """Any shape."""
        if not self.drops:
            return input
        if input.device.type != "cpu" or self.p == 1.0 or torch.compiler.is_compiling():
            return F.dropout(input, self.p)
        kept = KeptUnits(self.p)
        return _dropped(input, kept) if kernels_usable(input) else input * kept.mask(input)


def _dropped(x: Tensor, kept: KeptUnits) -> Tensor:
    if x.ndim != 3 or x.stride(-1) != 1:
        out: Tensor = _Dropped.apply(x.contiguous().view(1, 1, -1), kept)  # type: ignore[no-untyped-call]
    else:
        out = _Dropped.apply(x, kept)  # type: ignore[no-untyped-call]
    return out.view(x.shape)


class _Dropped(Function):
    """Of (T, B, n), contiguous in n. It is linear: its gradient is the dropout of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: KeptUnits) -> Tensor:  # noqa: ANN401
        ctx.kept = kept
        out = x.new_empty(x.shape)
        sizes = torch.get_num_threads(), *x.shape, *x.stride()[:2]
        call = CDropped(*sizes, kept.structure, address(x), address(out))
        run_kernel("lawm_dropout", call)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return _Dropped.apply(d_out.contiguous(), ctx.kept), None  # type: ignore[no-untyped-call]


__all__ = ["CDropped", "Dropout", "KeptUnits"]
