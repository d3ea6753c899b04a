"""The C structures of ``csrc`` for layers, and how an entry point is called with one.

Addresses are handed over: whoever fills a structure keeps the tensors alive.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from lawm.fused.build import loaded_kernels

MAX_LAYERS = 8  # of an MLP, MAX_LAYERS in layers.h
_INT, _REAL, _POINTER = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class CLinear(ctypes.Structure):
    """``Linear`` in layers.h."""

    _fields_ = (
        *((name, _INT) for name in ("inputs", "outputs", "bf16", "stride")),
        *((name, _POINTER) for name in ("weight", "rounded", "forward", "backward")),
        *((name, _POINTER) for name in ("bias", "x_pairs", "dy_pairs")),
        *((name, _POINTER) for name in ("gradient", "bias_gradient")),
    )


_NORM: tuple[tuple[str, Any], ...] = (
    ("eps", _REAL),
    *((name, _POINTER) for name in ("gamma", "beta", "normed", "rstd")),
)


class CDropout(ctypes.Structure):
    """``Dropout`` in arithmetic.h."""

    _fields_ = (*((name, _INT) for name in ("drops", "seed", "below")), ("kept", _REAL))


class CLayer(ctypes.Structure):
    """``Layer`` in layers.h."""

    _fields_ = (
        ("linear", CLinear),
        *_NORM,
        *((name, _POINTER) for name in ("out", "dy", "sums", "gradients")),
        ("dropout", CDropout),
    )


class CCell(ctypes.Structure):
    """``Cell`` in layers.h."""

    _fields_ = (
        *((name, CLinear) for name in ("of_x", "of_h")),
        *_NORM,
        *((name, _POINTER) for name in ("dy", "sums", "gradients")),
    )


class CMlp(ctypes.Structure):
    """``Mlp`` in layers.h."""

    _fields_ = (("layers", _INT), ("layer", CLayer * MAX_LAYERS), ("output", CLinear))


def address(x: Tensor | None) -> int | None:
    """Of the first element; NULL for None."""
    assert x is None or x.dtype == torch.float32, x.dtype
    return None if x is None else x.data_ptr()


def block_rows(rows: int) -> int:
    """Rows that pass through a loop together.

    Few enough to occupy all threads, many enough to use a weight that was fetched from the cache
    several times. It must not depend on the number of threads: sums are taken block by block.
    """
    return 8 if rows < 64 else 16 if rows < 256 else 32


def num_blocks(rows: int) -> int:
    """Blocks of :func:`block_rows`, the last of which may be smaller."""
    return max(1, -(-rows // block_rows(rows)))


def run_kernel(name: str, call: ctypes.Structure) -> None:
    """Run an entry point on a filled structure.

    Raises:
        MemoryError: It could not allocate its working memory.
    """
    checked(getattr(loaded_kernels(), name)(ctypes.byref(call)))


def checked(status: int) -> None:
    """Raise what an entry point's result says.

    Raises:
        MemoryError: It could not allocate its working memory.
    """
    if status != 0:
        raise MemoryError("lawm's CPU kernels could not allocate their working memory.")


__all__ = [
    "MAX_LAYERS",
    "CCell",
    "CDropout",
    "CLayer",
    "CLinear",
    "CMlp",
    "address",
    "block_rows",
    "checked",
    "num_blocks",
    "run_kernel",
]
