"""Autograd functions on the kernels: a normed linear layer over many rows, and softplus."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.build import loaded_kernels
from lawm.fused.kernels import norm_silu, norm_silu_backward


class _NormSiLULinear(Function):
    """The layer on the kernels; ``bias`` is one row, or one for each row of x."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        eps: float,
    ) -> Tensor:
        """``(B, I), (O, I), (O,) or (B, O), (O,), (O,) -> (B, O)``."""
        y = x @ weight.t()
        out = torch.empty_like(y)
        stats = norm_silu(y, bias.contiguous(), scale, shift, eps, out)
        ctx.save_for_backward(x, weight, scale, shift, y, stats)
        ctx.shared_bias = bias.dim() == 1
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of all tensors that want one."""
        x, weight, scale, shift, y, stats = ctx.saved_tensors
        of_x, of_weight, of_bias, of_scale, of_shift, _ = ctx.needs_input_grad
        dy = torch.empty_like(y)
        wants_sums = of_scale or of_shift or (of_bias and ctx.shared_bias)
        sums = y.new_zeros(3, y.shape[1]) if wants_sums else None
        norm_silu_backward(y, scale, shift, stats, d_out.contiguous(), dy, sums)
        d_scale, d_shift, d_bias = (None, None, None) if sums is None else sums.unbind()
        return (
            dy @ weight if of_x else None,
            dy.t() @ x if of_weight else None,
            (d_bias if ctx.shared_bias else dy) if of_bias else None,
            d_scale if of_scale else None,
            d_shift if of_shift else None,
            None,
        )


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


def norm_silu_linear(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> Tensor:
    """``SiLU(LayerNorm(x W' + bias))``: ``(..., I) -> (..., O)``; bias ``(O,)`` or ``(..., O)``."""
    bias = bias if bias.dim() == 1 else bias.flatten(0, -2)
    out: Tensor = _NormSiLULinear.apply(x.flatten(0, -2), weight, bias, scale, shift, eps)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], out.shape[-1])


def softplus(x: Tensor) -> Tensor:
    """``log(1 + e^x)``, any shape."""
    out: Tensor = _Softplus.apply(x)  # type: ignore[no-untyped-call]
    return out


__all__ = ["norm_silu_linear", "softplus"]
