"""Whether the kernels can be used, and in which precision they multiply."""

from __future__ import annotations

import torch
from torch import Tensor

from lawm.fused.build import find_kernels


def kernels_usable(weight: Tensor) -> bool:
    """Whether the kernels can run for a layer with this weight, as things stand now."""
    return (
        _enabled
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and find_kernels() is not None
        and (not torch.is_autocast_enabled("cpu") or (in_bf16() and bf16_kernels()))
    )


def bf16_kernels() -> bool:
    """Whether the kernels can multiply in bfloat16: the processor has instructions for it."""
    kernels = find_kernels()
    return kernels is not None and bool(kernels.lawm_has_bf16())


def in_bf16() -> bool:
    """Whether autocast asks for products in bfloat16, as things stand now.

    The kernels then round both factors of a product of a weight and its input, as autocast does,
    and keep in float32 what autocast does not: its sums, layer norms, gates and outputs.
    """
    dtype: torch.dtype = torch.get_autocast_dtype("cpu")
    return torch.is_autocast_enabled("cpu") and dtype == torch.bfloat16


_enabled = True


def enable_kernels(enabled: bool) -> None:
    """Use the kernels from now on in this process where they can run, or not at all."""
    global _enabled
    _enabled = enabled


__all__ = ["bf16_kernels", "enable_kernels", "in_bf16", "kernels_usable"]
