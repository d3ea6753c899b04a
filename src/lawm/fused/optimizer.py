"""AdamW and the clipping of gradients, each one call of a kernel for all parameters.

Torch's fused AdamW and ``clip_grad_norm_`` visit each parameter several times on a CPU: 2.4 ms for
86 small ones, a tenth of an update.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from lawm.fused.build import loaded_kernels
from lawm.fused.kernels import kernels_usable
from lawm.fused.structures import checked

_STATE = ("exp_avg", "exp_avg_sq", "step")  # torch's names


def clip_gradient_norm(parameters: Iterable[nn.Parameter], limit: float | None) -> Tensor:
    """As torch's ``clip_grad_norm_``.

    Args:
        parameters: Those without a gradient do not count.
        limit: Greatest norm over all of them; None clips nothing.

    Returns:
        (), the norm before clipping.
    """
    trained = [p for p in parameters if p.grad is not None]
    limit = math.inf if limit is None else limit
    if not _readable(trained):
        return clip_grad_norm_(trained, limit, foreach=True)
    table, norm = _table([(p, p.grad, None, None, None) for p in trained]), ctypes.c_double()
    sizes = torch.get_num_threads(), len(table)
    checked(loaded_kernels().lawm_clip_gradients(*sizes, _at(table), limit, ctypes.addressof(norm)))
    return torch.tensor(norm.value)


class FusedAdamW(torch.optim.AdamW):
    """``torch.optim.AdamW(fused=True)``, with the same state."""

    def __init__(self, params: Any, **settings: Any) -> None:  # noqa: ANN401 (as torch takes them)
        super().__init__(params, fused=True, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401
        """An update by the kernel where it can make it, else by torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        trained = [p for group in groups for p in group]
        if not (_readable(trained) and self._is_plain() and self._has_state(trained)):
            step = torch.optim.AdamW.step  # makes the first update, too, and with it the state
            if getattr(step, "hooked", False):  # hooks run around this function
                step = step.__wrapped__  # type: ignore[attr-defined]
            step(self)
            return loss
        found = getattr(self, "found_inf", None)  # what a gradient scaler sets
        if found is not None and found.item() > 0:
            return loss
        for group, parameters in zip(self.param_groups, groups, strict=True):
            states = [[self.state[p][name] for name in _STATE] for p in parameters]
            rows = zip(parameters, states, strict=True)
            table = _table([(p, p.grad, *state) for p, state in rows])
            numbers = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
            sizes = torch.get_num_threads(), len(table)
            loaded_kernels().lawm_adamw(*sizes, _at(table), *map(float, numbers))
        torch.autograd.graph.increment_version(
            trained
        )  # or a graph of before would not refuse them
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, without what that does for gradients that are kept."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _has_state(self, trained: list[nn.Parameter]) -> bool:
        """Of all these, as the kernel reads it."""
        states = [self.state.get(p, {}) for p in trained]
        return all(n in state and state[n].is_contiguous() for state in states for n in _STATE)

    def _is_plain(self) -> bool:
        """Without what the kernel does not know."""
        options = ("amsgrad", "maximize", "capturable", "differentiable")
        scaled = getattr(self, "grad_scale", None) is not None
        return not scaled and not any(group[o] for group in self.param_groups for o in options)


def _readable(trained: list[nn.Parameter]) -> bool:
    """Whether the kernels can read these parameters and their gradients."""
    return (
        bool(trained)
        and kernels_usable(trained[0])
        and all(p.dtype == torch.float32 and p.is_cpu and p.is_contiguous() for p in trained)
        and all(p.grad is not None and p.grad.is_contiguous() for p in trained)
    )


def _table(rows: list[tuple[Tensor | None, ...]]) -> NDArray[np.int64]:
    """``Parameter`` in optimizer.c for each row of tensors, the first of which is its values."""
    return np.array(
        [[0 if x is None else x.data_ptr() for x in row] + [row[0].numel()] for row in rows],  # type: ignore[union-attr]
        dtype=np.int64,
    ).reshape(-1, 6)


def _at(table: NDArray[np.int64]) -> int:
    return table.ctypes.data


__all__ = ["FusedAdamW", "clip_gradient_norm"]
