"""Layers inside a loop over time whose backward is called by hand.

Each keeps what it needs of all time steps in one tensor. The gradient of its weight is one product
over all of them after the loop, where autograd would make one for every step and add them up.
Kernels are called with addresses: on the smallest batches a call costs as much as its arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lawm.fused.build import FLOAT_BYTES, check_status, loaded_kernels


def flat(x: Tensor) -> Tensor:
    """``(T, B, n) -> (T B, n)``."""
    return x.flatten(0, 1)


def linear_gradients(d_out: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Of weight and bias of a linear layer, from all steps' ``(T, B, O)`` and ``(T, B, I)``."""
    d_out = flat(d_out)
    return d_out.t() @ flat(inputs), d_out.sum(dim=0)


def take_loop(ctx: Any) -> Any:  # noqa: ANN401
    """The loop of an autograd function's context, for its one backward pass.

    Raises:
        RuntimeError: A second backward pass, which would add to the sums of the first.
    """
    loop, ctx.loop = ctx.loop, None
    if loop is None:
        raise RuntimeError(
            "a second backward pass through lawm's fused loop; it supports one. Set compile: off."
        )
    return loop


class LoopNormSiLU:
    """``SiLU(LayerNorm(x W' + offset))`` at each of ``steps`` time steps.

    Args:
        linear: W, and the bias that is the offset where none is given.
        norm: Scale and shift.
        steps: T.
        rows: B.
        trained: Whether the gradients of scale, shift and bias are wanted.
        weight: In place of W, where the input has columns that the layer does not read.
    """

    def __init__(
        self,
        linear: nn.Linear,
        norm: nn.LayerNorm,
        steps: int,
        rows: int,
        trained: bool = True,
        weight: Tensor | None = None,
    ) -> None:
        cols = linear.out_features
        self.weight = linear.weight.detach() if weight is None else weight
        kept = steps if trained else 1  # what only the weight's gradient needs may be overwritten
        self.out = self.weight.new_empty(kept, rows, cols)
        self.dy = torch.empty_like(self.out)
        self.sums = self.weight.new_zeros(3, cols) if trained else None
        self._bias_at, self._transposed = linear.bias.data_ptr(), self.weight.t()
        self._y = self.weight.new_empty(steps, rows, cols)
        self._stats = self.weight.new_empty(steps, rows, 2)
        repeats = steps // kept
        self._y_of = self._y.unbind()
        self._out_of, self._dy_of = self.out.unbind() * repeats, self.dy.unbind() * repeats
        self._step, self._stats_step = rows * cols * FLOAT_BYTES, rows * 2 * FLOAT_BYTES
        self._kept_step = self._step if trained else 0
        self._affine = norm.weight.data_ptr(), norm.bias.data_ptr()
        self._sums_at = None if self.sums is None else self.sums.data_ptr()
        self._at = tuple(x.data_ptr() for x in (self._y, self._stats, self.out, self.dy))
        self._shape, self._eps = (torch.get_num_threads(), rows, cols), norm.eps
        kernels = loaded_kernels()
        self._forward = kernels.lawm_norm_silu_forward
        self._backward = kernels.lawm_norm_silu_backward

    def forward(self, t: int, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """``(B, I) -> (B, O)``; the next call may overwrite the output of an untrained layer.

        ``offset`` is ``(B, O)``, contiguous.
        """
        torch.mm(x, self._transposed, out=self._y_of[t])
        y, stats, out, _ = self._at
        self._forward(
            *self._shape,
            *((0, self._eps) if offset is None else (self._shape[2], self._eps)),
            y + t * self._step,
            self._bias_at if offset is None else offset.data_ptr(),
            *self._affine,
            out + t * self._kept_step,
            stats + t * self._stats_step,
        )
        return self._out_of[t]

    def backward(self, t: int, d_out: Tensor) -> Tensor:
        """Gradient of ``x W' + offset``, (B, O); that of x is its product with W."""
        y, stats, _, dy = self._at
        status = self._backward(
            *self._shape,
            y + t * self._step,
            *self._affine,
            stats + t * self._stats_step,
            d_out.data_ptr(),
            dy + t * self._kept_step,
            self._sums_at,
        )
        check_status(status)
        return self._dy_of[t]

    def weight_gradient(self, x: Tensor) -> Tensor:
        """From the inputs of all steps, ``(T B, I)``: ``(O, I)``."""
        return flat(self.dy).t() @ x

    def bias_scale_shift(self) -> tuple[Tensor, Tensor, Tensor]:
        """Their gradients, each ``(O,)``, in the order of the layer's parameters."""
        assert self.sums is not None
        return self.sums[2], self.sums[0], self.sums[1]


class LoopGRU:
    """:class:`~lawm.networks.NormedGRUCell` at each of ``steps`` time steps.

    Args:
        linear: Of the cell.
        norm: Of the cell.
        steps: T.
        rows: B.
        state: Holds h_t in its first D columns, ``(T + 1, B, .)``; step t writes h_{t + 1}.
        trained: Whether the gradients of scale and shift are wanted.
    """

    def __init__(
        self,
        linear: nn.Linear,
        norm: nn.LayerNorm,
        steps: int,
        rows: int,
        state: Tensor,
        trained: bool = True,
    ) -> None:
        weight, cols = linear.weight.detach(), linear.out_features
        size = cols // 3
        inputs = linear.in_features - size
        kept = steps if trained else 1
        self.dy = weight.new_empty(kept, rows, cols)
        self.sums = weight.new_zeros(3, cols) if trained else None
        self.h = state[:, :, :size].unbind()
        self._of_x, self._of_h = weight[:, :inputs], weight[:, inputs:]
        self._of_x_transposed, self._of_h_transposed = self._of_x.t(), self._of_h.t()
        self._y = weight.new_empty(steps, rows, cols)
        self._stats = weight.new_empty(steps, rows, 2)
        self._y_of, self._dy_of = self._y.unbind(), self.dy.unbind() * (steps // kept)
        self._step, self._stats_step = rows * cols * FLOAT_BYTES, rows * 2 * FLOAT_BYTES
        self._kept_step = self._step if trained else 0
        self._stride, self._h_step = state.stride(1), state.stride(0) * FLOAT_BYTES
        self._affine = norm.weight.data_ptr(), norm.bias.data_ptr()
        self._sums_at = None if self.sums is None else self.sums.data_ptr()
        self._at = tuple(x.data_ptr() for x in (self._y, self._stats, self.dy, state))
        self._shape, self._eps = (torch.get_num_threads(), rows, size), norm.eps
        kernels = loaded_kernels()
        self._forward, self._backward = kernels.lawm_gru_forward, kernels.lawm_gru_backward

    def forward(self, t: int, x: Tensor) -> None:
        """Write h_{t + 1} from h_t and ``x (B, X)``."""
        out = self._y_of[t]
        torch.mm(x, self._of_x_transposed, out=out)
        out.addmm_(self.h[t], self._of_h_transposed)
        y, stats, _, h = self._at
        y += t * self._step
        stats += t * self._stats_step
        h += t * self._h_step
        self._forward(
            *self._shape,
            *(self._stride, self._stride, self._eps, y, h),
            *self._affine,
            h + self._h_step,
            stats,
        )

    def backward(self, t: int, d_next: Tensor, dh: Tensor) -> Tensor:
        """Adds the gradient of h_t to ``dh``; returns that of x, ``(B, X)``.

        Args:
            t: Step.
            d_next: Gradient of h_{t + 1}, ``(B, D)``; may be columns of a wider tensor, like dh.
            dh: Of h_t.
        """
        y, stats, dy, h = self._at
        status = self._backward(
            *self._shape,
            *(self._stride, d_next.stride(0), dh.stride(0)),
            *(y + t * self._step, h + t * self._h_step),
            *self._affine,
            stats + t * self._stats_step,
            *(d_next.data_ptr(), dy + t * self._kept_step, dh.data_ptr(), self._sums_at),
        )
        check_status(status)
        of_y = self._dy_of[t]
        dh.addmm_(of_y, self._of_h)
        return of_y @ self._of_x

    def weight_gradient(self, x: Tensor, h: Tensor) -> Tensor:
        """From the inputs of all steps, ``(T B, X)`` and ``(T B, D)``: ``(3 D, X + D)``."""
        dy = flat(self.dy).t()
        return torch.cat([dy @ x, dy @ h], dim=1)


class LoopGaussian:
    """``out = mean + (softplus(raw) + min_std) noise`` at each time step.

    Args:
        params: Mean and raw standard deviation, ``(T, B, 2 n)``, filled as the loop goes on.
        noise: ``(T, B, n)``, contiguous.
        min_std: Least standard deviation.
        out: Where the sample is written, columns of a tensor ``(T or more, B, .)``.
    """

    def __init__(self, params: Tensor, noise: Tensor, min_std: float, out: Tensor) -> None:
        assert params.is_contiguous() and noise.is_contiguous(), (params.stride(), noise.stride())
        self._keep = params, noise, out  # their addresses are used
        self._shape, self._stride, self._min_std = noise.shape[1:], out.stride(1), min_std
        self._at = params.data_ptr(), noise.data_ptr(), out.data_ptr()
        self._steps = tuple(x.stride(0) * FLOAT_BYTES for x in (params, noise, out))
        kernels = loaded_kernels()
        self._forward = kernels.lawm_gaussian_forward
        self._backward = kernels.lawm_gaussian_backward

    def forward(self, t: int) -> None:
        """Write the sample of step t."""
        params, noise, out = (a + t * s for a, s in zip(self._at, self._steps, strict=True))
        self._forward(*self._shape, self._stride, self._min_std, params, noise, out)

    def backward(self, t: int, d_out: Tensor, d_params: Tensor) -> None:
        """ADDS the gradient to ``d_params (B, 2 n)``; d_out ``(B, n)`` may be strided columns."""
        params, noise, _ = (a + t * s for a, s in zip(self._at, self._steps, strict=True))
        self._backward(
            *self._shape, d_out.stride(0), params, noise, d_out.data_ptr(), d_params.data_ptr()
        )


__all__ = [
    "LoopGRU",
    "LoopGaussian",
    "LoopNormSiLU",
    "flat",
    "linear_gradients",
    "take_loop",
]
