"""Layer norm + SiLU on contiguous float32 rows on the CPU, and whether the kernels can be used."""

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
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and find_kernels() is not None
    )


_enabled = True


def enable_kernels(enabled: bool) -> None:
    """Use the kernels from now on in this process where they can run, or not at all."""
    global _enabled
    _enabled = enabled


__all__ = ["enable_kernels", "kernels_usable"]
