"""``log(1 + e^x)`` on the kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.build import loaded_kernels


class _Softplus(Function):
    """``log(1 + e^x)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        """Any shape."""
        x = x.contiguous()
        ctx.save_for_backward(x)
        out = torch.empty_like(x)
        kernel = loaded_kernels().lawm_softplus_forward
        kernel(torch.get_num_threads(), x.numel(), x.data_ptr(), out.data_ptr())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> Tensor:  # noqa: ANN401
        """``d_out sigmoid(x)``."""
        (x,) = ctx.saved_tensors
        d_out, dx = d_out.contiguous(), torch.empty_like(x)
        kernel = loaded_kernels().lawm_softplus_backward
        kernel(torch.get_num_threads(), x.numel(), x.data_ptr(), d_out.data_ptr(), dx.data_ptr())
        return dx


def softplus(x: Tensor) -> Tensor:
    """``log(1 + e^x)``, any shape."""
    out: Tensor = _Softplus.apply(x)  # type: ignore[no-untyped-call]
    return out


__all__ = ["softplus"]
