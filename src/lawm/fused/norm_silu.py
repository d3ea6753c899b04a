"""Layer norm + SiLU of many short rows, such as the channels of all pixels, on the kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.structures import address, run_kernel

BLOCKS = 32  # of rows; sums are taken in each, so that the number of threads changes nothing


class CNormSilu(ctypes.Structure):
    """``NormSilu`` in norm_silu.c."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("threads", "blocks", "rows", "cols", "bf16")),
        ("eps", ctypes.c_double),
        *((n, ctypes.c_void_p) for n in ("gamma", "beta", "x", "out", "d_out", "d_x", "sums")),
    )


def norm_silu(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """``SiLU(LayerNorm(x))`` over the last dimension.

    PyTorch sums the gradients of scale and shift over all rows in bfloat16 where the rows are of
    that type, which loses most of them; here such sums are float32.

    Args:
        x: ``(..., cols)``, float32 or bfloat16.
        norm: With scale and shift, of the last dimension.

    Returns:
        ``(..., cols)`` in the type of x.
    """
    out: Tensor = _NormSilu.apply(x.contiguous(), norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return out


class _NormSilu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        out = torch.empty_like(x)
        cols = gamma.shape[0]
        call = CNormSilu(
            threads=torch.get_num_threads(),
            blocks=BLOCKS,
            rows=x.numel() // cols,
            cols=cols,
            bf16=x.dtype == torch.bfloat16,
            eps=eps,
            gamma=address(gamma),
            beta=address(beta),
            x=x.data_ptr(),
            out=out.data_ptr(),
        )
        run_kernel("lawm_norm_silu_forward", call)
        ctx.call = call
        ctx.save_for_backward(x, gamma, beta)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, gamma, beta = ctx.saved_tensors
        call, d_x = ctx.call, torch.empty_like(x)
        call.x, call.gamma, call.beta = x.data_ptr(), address(gamma), address(beta)
        d_out = d_out.to(x.dtype).contiguous()
        sums = gamma.new_zeros(BLOCKS, 3, gamma.shape[0])
        call.d_out, call.d_x, call.sums = d_out.data_ptr(), d_x.data_ptr(), address(sums)
        run_kernel("lawm_norm_silu_backward", call)
        return d_x, sums[0, 0], sums[0, 1], None


__all__ = ["norm_silu"]
