"""Normed layers, with dropout, and a linear output layer as one operator, on the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.block_mlp import BlockMLP, HiddenLayer
from lawm.fused.kernels import in_bf16
from lawm.fused.plans import Lease, Plans
from lawm.fused.structures import (
    MAX_LAYERS,
    CMlp,
    address,
    block_rows,
    num_blocks,
    run_kernel,
)


class CMlpCall(ctypes.Structure):
    """``MlpCall`` in mlp.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("threads", "block", "rows")),
        ("mlp", CMlp),
        ("x", ctypes.c_void_p),
        ("x_stride", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("offset", "out", "d_out", "d_x")),
    )


class StackPlan:
    """The buffers of a call, and its structure, which says where they are."""

    def __init__(
        self, layers: Sequence[HiddenLayer], output: nn.Linear | None, rows: int, trained: bool
    ) -> None:
        self.call = CMlpCall(block=block_rows(rows), rows=rows)
        as_pairs = trained and in_bf16()
        self.mlp = BlockMLP(layers, output, rows, trained, self.call.mlp, as_pairs=as_pairs)
        self.numbers = self.mlp.numbers


def layer_stack(
    x: Tensor,
    layers: Sequence[HiddenLayer],
    output: nn.Linear | None,
    offset: Tensor | None = None,
    *,
    added: Tensor | None = None,
    plans: Plans[StackPlan],
) -> Tensor:
    """``dropout(SiLU(LayerNorm(x W' + b)))`` for each layer, then the output layer if there is one.

    Args:
        x: ``(..., I)``.
        layers: Linear layer, norm and perhaps dropout of each hidden layer.
        output: The linear layer behind them.
        offset: ``(..., O)`` in place of the first layer's bias.
        added: A bias for an output layer without one.
        plans: Of whoever owns the layers.

    Returns:
        ``(..., O)``.
    """
    modules = [module for linear, norm, _ in layers for module in (linear, norm)]
    modules += [] if output is None else [output]
    parameters = [p for module in modules for p in (module.weight, module.bias)]
    if added is not None:
        assert parameters[-1] is None
        parameters[-1] = added
    wanted = [x for x in (*parameters, offset) if x is not None]
    trained = torch.is_grad_enabled() and any(p.requires_grad for p in wanted)
    rows = x.float().flatten(0, -2)
    assert (rows.shape[1], rows.device) == (modules[0].weight.shape[1], modules[0].weight.device)
    if rows.stride(-1) != 1:
        rows = rows.contiguous()
    if offset is not None:
        offset = offset.float().flatten(0, -2).contiguous()
    kind = len(rows), trained, output, *((linear, norm.eps) for linear, norm, _ in layers)
    lease = plans.lease(kind, lambda: StackPlan(layers, output, len(rows), trained))
    out: Tensor = _LayerStack.apply(lease, layers, rows, offset, *parameters)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], out.shape[-1])


class _LayerStack(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        lease: Lease[StackPlan],
        layers: Sequence[HiddenLayer],
        x: Tensor,
        offset: Tensor | None,
        *parameters: Tensor | None,  # a linear layer may have no bias
    ) -> Tensor:
        mlp, call = lease.plan.mlp, lease.plan.call
        out = mlp.begin(parameters, layers)
        call.threads = torch.get_num_threads()
        call.x, call.x_stride, call.offset = address(x), x.stride(0), address(offset)
        call.out = None if mlp.ends_in_layer else address(out)
        run_kernel("lawm_mlp_forward", call)
        ctx.lease, ctx.has_offset = lease, offset is not None
        ctx.save_for_backward(x, *parameters)  # the structure holds their addresses
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, *_ = ctx.saved_tensors
        mlp, call, d_out = ctx.lease.plan.mlp, ctx.lease.plan.call, d_out.contiguous()
        _, _, of_x, of_offset, *of_parameters = ctx.needs_input_grad
        d_x = torch.empty(x.shape, dtype=x.dtype) if of_x else None
        mlp.prepare_backward(num_blocks(x.shape[0]), gives_dy=of_offset)
        if any(of_parameters):
            mlp.prepare_gradients()
        call.x, call.x_stride = address(x), x.stride(0)
        call.d_out, call.d_x = address(d_out), address(d_x)
        run_kernel("lawm_mlp_backward", call)
        gradients: list[Tensor | None] = [None] * len(of_parameters)
        if any(of_parameters):
            gradients = list(mlp.parameter_gradients(x, d_out))
        if ctx.has_offset:
            gradients[1] = None  # the offset took the first bias's place
        d_offset = mlp.layers[0].dy if of_offset else None
        return None, None, d_x, d_offset, *gradients


__all__ = ["MAX_LAYERS", "StackPlan", "layer_stack"]
