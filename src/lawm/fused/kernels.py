"""Layer norm + SiLU on contiguous float32 rows on the CPU, and whether the kernels can be used."""

from __future__ import annotations

import torch
from torch import Tensor

from lawm.fused.build import check_status, find_kernels, loaded_kernels


def kernels_usable(weight: Tensor) -> bool:
    """Whether the kernels can run for a layer with this weight, as things stand now."""
    return (
        _enabled
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and find_kernels() is not None
    )


_enabled = True


def enable_kernels(enabled: bool) -> None:
    """Use the kernels from now on in this process where they can run, or not at all."""
    global _enabled
    _enabled = enabled


def norm_silu(
    y: Tensor, offset: Tensor, scale: Tensor, shift: Tensor, eps: float, out: Tensor
) -> Tensor:
    """``y += offset; out = SiLU(LayerNorm(y))``; returns the rows' moments ``(B, 2)``.

    y and out are ``(B, O)``; offset is ``(O,)`` or ``(B, O)``.
    """
    stats = y.new_empty(y.shape[0], 2)
    loaded_kernels().lawm_norm_silu_forward(
        torch.get_num_threads(),
        *y.shape,
        0 if offset.dim() == 1 else y.shape[1],
        eps,
        y.data_ptr(),
        offset.data_ptr(),
        scale.data_ptr(),
        shift.data_ptr(),
        out.data_ptr(),
        stats.data_ptr(),
    )
    return stats


def norm_silu_backward(
    y: Tensor,
    scale: Tensor,
    shift: Tensor,
    stats: Tensor,
    d_out: Tensor,
    dy: Tensor,
    sums: Tensor | None,
) -> None:
    """Gradient dy ``(B, O)`` of :func:`norm_silu`.

    ``sums``, ``(3, O)``, gains the gradients of scale, of shift and of a bias that all rows of y
    share.
    """
    status = loaded_kernels().lawm_norm_silu_backward(
        torch.get_num_threads(),
        *y.shape,
        y.data_ptr(),
        scale.data_ptr(),
        shift.data_ptr(),
        stats.data_ptr(),
        d_out.data_ptr(),
        dy.data_ptr(),
        None if sums is None else sums.data_ptr(),
    )
    check_status(status)


__all__ = ["enable_kernels", "kernels_usable", "norm_silu", "norm_silu_backward"]
