"""``-log N(target; mean, std)`` on the kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.structures import address, run_kernel


class CGaussianNll(ctypes.Structure):
    """``GaussianNll`` in gaussian.c."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("threads", "steps", "rows", "size")),
        *((n, ctypes.c_int64) for n in ("step_stride", "row_stride", "squashed")),
        *((n, ctypes.c_void_p) for n in ("mean", "target", "std", "out")),
        *((n, ctypes.c_void_p) for n in ("d_out", "d_mean", "d_std")),
    )


def gaussian_nll(mean: Tensor, target: Tensor, std: Tensor, squashed: bool) -> Tensor:
    """As :func:`lawm.gaussian_nll.gaussian_nll`, of a target that wants no gradient."""
    shape = mean.shape
    assert target.shape == shape, (target.shape, shape)
    assert std.shape == shape[-1:], (std.shape, shape)
    if mean.ndim != 3 or target.stride(-1) != 1:
        mean, target = (x.reshape(1, -1, shape[-1]).contiguous() for x in (mean, target))
    out: Tensor = _GaussianNll.apply(mean.contiguous(), target, std.contiguous(), squashed)  # type: ignore[no-untyped-call]
    return out.view(shape[:-1])


class _GaussianNll(Function):
    """Of a mean (T, B, n), contiguous, and a target whose rows are contiguous."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        mean: Tensor,
        target: Tensor,
        std: Tensor,
        squashed: bool,
    ) -> Tensor:
        out = mean.new_empty(mean.shape[:-1])
        sizes = torch.get_num_threads(), *mean.shape, *target.stride()[:2], squashed
        call = CGaussianNll(*sizes, *map(address, (mean, target, std, out)))
        run_kernel("lawm_gaussian_nll_forward", call)
        ctx.call = call
        ctx.save_for_backward(mean, target, std)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        mean, target, std = ctx.saved_tensors
        of_mean, _, of_std, _ = ctx.needs_input_grad
        d_mean = mean.new_empty(mean.shape) if of_mean else None
        d_std = std.new_empty(std.shape) if of_std else None
        call, d_out = ctx.call, d_out.contiguous()
        call.mean, call.target, call.std = map(address, (mean, target, std))
        call.d_out, call.d_mean, call.d_std = map(address, (d_out, d_mean, d_std))
        run_kernel("lawm_gaussian_nll_backward", call)
        return d_mean, None, d_std, None


__all__ = ["CGaussianNll", "gaussian_nll"]
