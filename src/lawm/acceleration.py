"""How a stage's arithmetic is run: fused kernels, plain PyTorch, or torch.compile.

    auto    on the CPU the fused kernels, where a C compiler builds them; elsewhere plain PyTorch
    off     plain PyTorch, every operator by itself
    full    torch.compile of the whole loss: minutes of compilation before the first step

All compute the same losses and gradients, up to rounding. With precision bf16-mixed the kernels
multiply in bfloat16 where the processor has instructions for it (AVX-512 BF16).
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import warnings
from functools import cache
from typing import Any

import torch

from lawm.errors import LawmError
from lawm.fit_config import CompileMode
from lawm.fused.kernels import bf16_kernels, enable_kernels
from lawm.stage_module import StageModule

# of <malloc.h>: blocks up to this size come from the heap, and the heap is not given back
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = 1 << 30


def accelerate(module: StageModule[Any], mode: CompileMode, *, bf16_on_cpu: bool = False) -> None:
    """Make a stage run as ``mode`` says, in this process.

    Args:
        module: The stage.
        mode: How.
        bf16_on_cpu: Precision bf16-mixed on the CPU, of which a warning tells where it is slow.

    Raises:
        LawmError: ``full`` on a machine without the C++ compiler that it needs.
    """
    enable_kernels(mode == "auto")
    if bf16_on_cpu and not (mode == "auto" and bf16_kernels()):
        warnings.warn(
            "trainer.precision is bf16-mixed, and lawm's kernels do not multiply in bfloat16 here: "
            "they need compile auto, a C compiler and a processor with AVX-512 BF16. PyTorch's own "
            "way may be slower than 32-true; `lawm bench throughput --precision` measures both.",
            stacklevel=2,
        )
    if mode == "off":
        return
    keep_freed_memory()
    if mode == "full":
        if not torch.cuda.is_available() and not any(map(shutil.which, ("g++", "clang++", "cl"))):
            raise LawmError(
                "compile is 'full', but no C++ compiler (g++ or clang++) is on the PATH, and "
                "torch.compile needs one. Install it, or set compile to auto or off."
            )
        loss: Any = module.compute_loss
        setattr(module, "compute_loss", torch.compile(loss, dynamic=False))  # noqa: B010


@cache
def keep_freed_memory() -> None:
    """Let glibc keep the memory of a step for the next one.

    By default it gives large blocks back to the system at once, and every step pays hundreds of
    page faults to get them again.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TOP_PAD, _KEPT_BYTES >> 4)


__all__ = ["accelerate", "keep_freed_memory"]
