"""Layers as the kernels run them: packed weights, and buffers for all rows of all time steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lawm.fused.build import loaded_kernels
from lawm.fused.dropout import Dropout, KeptUnits
from lawm.fused.kernels import in_bf16
from lawm.fused.structures import (
    MAX_LAYERS,
    CCell,
    CDropout,
    CLayer,
    CLinear,
    CMlp,
    address,
    checked,
)

HiddenLayer = tuple[nn.Linear, nn.LayerNorm, Dropout | None]  # SiLU stands before the dropout


@cache
def _packed_size(rows: int, cols: int) -> int:
    size: int = loaded_kernels().lawm_packed_size(rows, cols)
    return size


class PackedLinear:
    """A weight ``(O, I)``, packed for both directions in the precision of now, and its bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        outputs, inputs = weight.shape
        assert weight.stride(1) == 1, weight.stride()
        self.bf16 = in_bf16()
        rows = (inputs, outputs)
        if self.bf16:  # a row of pairs
            rows = (-(-inputs // 2), -(-outputs // 2))
        self._forward = weight.new_empty(_packed_size(rows[0], outputs))
        self._backward = weight.new_empty(_packed_size(rows[1], inputs))
        self._bias = bias
        to = self._forward.data_ptr(), self._backward.data_ptr()
        of = inputs, outputs, weight.stride(0), weight.data_ptr()
        if self.bf16:
            rounded = weight.new_empty(outputs, 2 * rows[0], dtype=torch.bfloat16)
            loaded_kernels().lawm_pack_weight_bf16(*of, rounded.data_ptr(), *to)
        else:
            loaded_kernels().lawm_pack_weight(*of, *to)
        self.structure = CLinear(inputs, outputs, self.bf16, *to, address(bias))
        self._gradient: Tensor | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> PackedLinear:
        """A layer's weight and bias."""
        return cls(linear.weight.detach(), linear.bias)

    def prepare_gradient(self) -> None:
        """Room for the weight's, where ``lawm_mlp_backward`` can make it: in bfloat16."""
        if self.bf16:
            self._gradient = torch.empty(self.structure.outputs, self.structure.inputs)
            self.structure.gradient = address(self._gradient)

    def gradient(self, d_out: Tensor, x: Tensor) -> Tensor:
        """Of the weight, from all rows ``(rows, O)`` and ``(rows, I)``."""
        if self._gradient is not None:  # whoever gets it owns it: autograd copies what others hold
            made, self._gradient = self._gradient, None
            self.structure.gradient = None
            return made
        if not self.bf16 or len(x) == 0:
            return d_out.t() @ x
        out = d_out.new_empty(d_out.shape[1], x.shape[1])
        of = (y for tensor in (d_out, x, out) for y in (address(tensor), tensor.stride(0)))
        sizes = torch.get_num_threads(), len(x), *out.shape
        checked(loaded_kernels().lawm_weight_gradient_bf16(*sizes, *of))
        return out

    def gradients(self, d_out: Tensor, x: Tensor) -> list[Tensor | None]:
        """Of weight and bias."""
        return [self.gradient(d_out, x), None if self._bias is None else d_out.sum(dim=0)]


class _Normed:
    """Buffers of a layer norm behind a product with a weight, for all rows of all steps."""

    def __init__(self, norm: nn.LayerNorm, rows: int, cols: int, trained: bool) -> None:
        self._norm, self._trained = norm, trained
        self._y = norm.weight.new_empty(rows, cols, requires_grad=False)
        self._stats = norm.weight.new_empty(rows, 2, requires_grad=False)
        self.dy: Tensor | None = None
        self.sums: Tensor | None = None

    def prepare_backward(self, blocks: int) -> None:
        """Room for the gradients of the layer's own parameters, if they are wanted."""
        if self._trained:
            self.dy = torch.empty_like(self._y)
            self.sums = self._y.new_zeros(blocks, 3, self._y.shape[1])

    def _norm_fields(self) -> tuple[Any, ...]:
        norm = self._norm
        return (norm.eps, *map(address, (norm.weight, norm.bias, self._y, self._stats)))

    def wanted_gradients(self) -> tuple[Tensor, Tensor]:
        """``dy`` of all rows, and the sums ``(3, O)`` for scale, shift and bias."""
        assert self.dy is not None
        assert self.sums is not None
        return self.dy, self.sums[0]


class BlockLayer(_Normed):
    """``SiLU(LayerNorm(x W' + offset))`` on all rows of all time steps.

    Args:
        linear: W, and the bias that is the offset where none is given.
        norm: Scale and shift.
        rows: Of all time steps together.
        trained: Whether the gradients of the layer's parameters are wanted.
        weight: In place of W, where the input has columns that the layer does not read.
        keep_out: Keep the output also where it is not trained.
        dropout: Behind the layer, where it drops now.
    """

    def __init__(
        self,
        linear: nn.Linear,
        norm: nn.LayerNorm,
        rows: int,
        trained: bool,
        *,
        weight: Tensor | None = None,
        keep_out: bool = False,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(norm, rows, linear.out_features, trained)
        self.weight = linear.weight.detach() if weight is None else weight
        self.packed = PackedLinear(self.weight, linear.bias.detach())
        self.out = torch.empty_like(self._y) if trained or keep_out else None
        self._kept: KeptUnits | None = None
        if dropout is not None and dropout.drops:
            self._kept = KeptUnits(dropout.p)

    @property
    def structure(self) -> CLayer:
        """As things stand."""
        at = map(address, (self.out, self.dy, self.sums))
        dropout = CDropout() if self._kept is None else self._kept.structure
        return CLayer(self.packed.structure, *self._norm_fields(), *at, dropout)

    def parameter_gradients(self, x: Tensor) -> list[Tensor]:
        """Of weight, bias, scale and shift, from the inputs of all rows ``(rows, I)``."""
        dy, sums = self.wanted_gradients()
        return [self.packed.gradient(dy, x), sums[2], sums[0], sums[1]]


class BlockCell(_Normed):
    """:class:`~lawm.networks.NormedGRUCell` on all rows of all time steps."""

    def __init__(self, linear: nn.Linear, norm: nn.LayerNorm, rows: int, trained: bool) -> None:
        super().__init__(norm, rows, linear.out_features, trained)
        weight, deter = linear.weight.detach(), linear.out_features // 3
        self._of_x = PackedLinear(weight[:, :-deter])
        self._of_h = PackedLinear(weight[:, -deter:])

    @property
    def structure(self) -> CCell:
        """As things stand."""
        linears = self._of_x.structure, self._of_h.structure
        return CCell(*linears, *self._norm_fields(), *map(address, (self.dy, self.sums)))

    def parameter_gradients(self, x: Tensor, h: Tensor) -> list[Tensor]:
        """Of weight, scale and shift, from the inputs of all rows ``(rows, X)``, ``(rows, D)``."""
        dy, sums = self.wanted_gradients()
        of_weight = self._of_x.gradient(dy, x), self._of_h.gradient(dy, h)
        return [torch.cat(of_weight, dim=1), sums[0], sums[1]]


class BlockMLP:
    """Normed layers and perhaps a linear output layer, on all rows of all time steps.

    Args:
        layers: Linear layer, norm and dropout of each hidden layer.
        output: Without one the last hidden layer's output is the result.
        rows: Of all time steps together.
        trained: Whether the gradients of its parameters are wanted.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        output: nn.Linear | None,
        rows: int,
        trained: bool,
    ) -> None:
        assert len(layers) <= MAX_LAYERS, len(layers)
        last = len(layers) - 1
        self.layers = [
            BlockLayer(
                linear,
                norm,
                rows,
                trained,
                keep_out=output is None and number == last,
                dropout=dropout,
            )
            for number, (linear, norm, dropout) in enumerate(layers)
        ]
        self._output = None if output is None else PackedLinear(output.weight.detach(), output.bias)

    @property
    def structure(self) -> CMlp:
        """As things stand."""
        layers = (CLayer * MAX_LAYERS)(*(layer.structure for layer in self.layers))
        output = CLinear() if self._output is None else self._output.structure
        return CMlp(len(self.layers), layers, output)

    def prepare_backward(self, blocks: int) -> None:
        """Room for the gradients of the parameters, if they are wanted."""
        for layer in self.layers:
            layer.prepare_backward(blocks)

    def prepare_gradients(self) -> None:
        """Room for those of the weights, which ``lawm_mlp_backward`` then makes where it can."""
        for packed in (*(layer.packed for layer in self.layers), self._output):
            if packed is not None:
                packed.prepare_gradient()

    def parameter_gradients(self, x: Tensor, d_out: Tensor) -> list[Tensor | None]:
        """In the order of the parameters, from the inputs and the gradients of all outputs."""
        gradients: list[Tensor | None] = []
        for layer in self.layers:
            gradients += layer.parameter_gradients(x)
            assert layer.out is not None
            x = layer.out
        return (
            gradients if self._output is None else [*gradients, *self._output.gradients(d_out, x)]
        )


__all__ = ["BlockCell", "BlockLayer", "BlockMLP", "HiddenLayer", "PackedLinear"]
