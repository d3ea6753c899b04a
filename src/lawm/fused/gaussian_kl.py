"""``KL(p || q)`` of diagonal Gaussians on the kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.structures import address, run_kernel


class CGaussianKl(ctypes.Structure):
    """``GaussianKl`` in gaussian.c."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("threads", "rows", "size", "p_stride", "q_stride")),
        ("least", ctypes.c_double),
        *((n, ctypes.c_void_p) for n in ("p", "q", "out", "d_out", "d_p", "d_q")),
    )


def gaussian_kl(p: Tensor, q: Tensor, min_std: float) -> Tensor:
    """Summed over the n dimensions.

    Args:
        p: Means and raw standard deviations, ``(..., 2 n)``.
        q: Likewise, of the same shape.
        min_std: Least standard deviation, ``softplus(raw) + min_std``.

    Returns:
        ``(..., )`` in nats.
    """
    assert p.shape == q.shape, (p.shape, q.shape)
    rows = p.flatten(0, -2), q.flatten(0, -2)
    rows_p, rows_q = (x if x.stride(-1) == 1 else x.contiguous() for x in rows)
    out: Tensor = _GaussianKl.apply(rows_p, rows_q, min_std)  # type: ignore[no-untyped-call]
    return out.view(p.shape[:-1])


class _GaussianKl(Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, min_std: float) -> Tensor:  # noqa: ANN401
        out = p.new_empty(p.shape[0])
        call = CGaussianKl(
            threads=torch.get_num_threads(),
            rows=p.shape[0],
            size=p.shape[1] // 2,
            p_stride=p.stride(0),
            q_stride=q.stride(0),
            least=min_std,
            p=address(p),
            q=address(q),
            out=address(out),
        )
        run_kernel("lawm_gaussian_kl_forward", call)
        ctx.call = call
        ctx.save_for_backward(p, q)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        d_out, call, saved = d_out.contiguous(), ctx.call, ctx.saved_tensors
        call.p, call.q = map(address, saved)
        d_p, d_q = (
            x.new_empty(x.shape) if wanted else None
            for x, wanted in zip(saved, ctx.needs_input_grad[:2], strict=True)
        )
        call.d_out, call.d_p, call.d_q = address(d_out), address(d_p), address(d_q)
        run_kernel("lawm_gaussian_kl_backward", call)
        return d_p, d_q, None


__all__ = ["gaussian_kl"]
