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
    """Room for a weight ``(O, I)``, packed in the precision of now; a kernel's forward packs it.

    Args:
        linear: W and the bias.
        into: The structure that is filled.
        weight: In place of W, where the input has other columns than the layer reads.
    """

    def __init__(self, linear: nn.Linear, into: CLinear, weight: Tensor | None = None) -> None:
        weight = linear.weight.detach() if weight is None else weight
        outputs, inputs = weight.shape
        self.bf16 = in_bf16()
        rows, rounded = (inputs, outputs), None
        if self.bf16:  # a row of pairs
            rows = (-(-inputs // 2), -(-outputs // 2))
            rounded = weight.new_empty(outputs, rows[0])
        sizes = _packed_size(rows[0], outputs), _packed_size(rows[1], inputs)
        packed = weight.new_empty(sum(sizes)).split(sizes)
        into.inputs, into.outputs, into.bf16 = inputs, outputs, self.bf16
        into.rounded, into.forward, into.backward = map(address, (rounded, *packed))
        self._into, self._keep = into, (weight, rounded, packed)
        self._pairs: tuple[Tensor, Tensor] | None = None
        self._of_weight: Tensor | None = None
        self._of_bias: Tensor | None = None
        self.use(weight, linear.bias)

    def use(self, weight: Tensor, bias: Tensor | None) -> None:
        """Multiply with these from now on; the caller keeps them alive."""
        assert weight.stride(1) == 1, weight.stride()
        into, self._has_bias = self._into, bias is not None
        into.weight, into.stride, into.bias = address(weight), weight.stride(0), address(bias)

    def keep_factors(self, rows: int) -> None:
        """Room for those of the weight's gradient, rounded in pairs of rows as they are made."""
        into, like, pairs = self._into, self._keep[0], -(-rows // 2)
        x_pairs = like.new_empty(_packed_size(pairs, into.inputs))
        dy_pairs = like.new_empty(pairs * into.outputs)
        into.x_pairs, into.dy_pairs = address(x_pairs), address(dy_pairs)
        self._pairs = x_pairs, dy_pairs

    def prepare_gradients(self, bias: bool) -> None:
        """Room for what ``lawm_mlp_backward`` can make: the weight's from pairs, the bias's."""
        into, like = self._into, self._keep[0]
        if self._pairs is not None:
            self._of_weight = like.new_empty(like.shape)
            into.gradient = address(self._of_weight)
        if bias and self._has_bias:
            self._of_bias = like.new_empty(like.shape[0])
            into.bias_gradient = address(self._of_bias)

    def weight_gradient(self, d_out: Tensor | None, x: Tensor | None) -> Tensor:
        """From all rows ``(rows, O)`` and ``(rows, I)``; None where pairs of them were kept."""
        made, self._of_weight = self._of_weight, None  # autograd copies what others hold
        if made is not None:
            self._into.gradient = None
            return made
        assert d_out is not None
        assert x is not None
        if not self.bf16 or len(x) == 0:
            return d_out.t() @ x
        out = d_out.new_empty(d_out.shape[1], x.shape[1])
        of = (y for tensor in (d_out, x, out) for y in (address(tensor), tensor.stride(0)))
        sizes = torch.get_num_threads(), len(x), *out.shape
        checked(loaded_kernels().lawm_weight_gradient_bf16(*sizes, *of))
        return out

    def gradients(self, d_out: Tensor, x: Tensor | None) -> list[Tensor | None]:
        """Of weight and bias."""
        of_bias, self._of_bias = self._of_bias, None
        self._into.bias_gradient = None
        if of_bias is None and self._has_bias:
            of_bias = d_out.sum(dim=0)
        return [self.weight_gradient(d_out, x), of_bias]


class _Normed:
    """Buffers of a layer norm behind a product with a weight, for all rows of all steps."""

    def __init__(
        self, norm: nn.LayerNorm, rows: int, cols: int, trained: bool, into: CLayer | CCell
    ) -> None:
        self._into, self._trained = into, trained
        self._y = norm.weight.new_empty(rows, cols, requires_grad=False)
        self._stats = self._y.new_empty(rows, 2)
        self._sums: Tensor | None = None
        self._gradients: Tensor | None = None
        self.keeps_dy, self._own_dy = True, None
        self.dy: Tensor | None = None
        into.eps, into.y, into.stats = norm.eps, address(self._y), address(self._stats)
        self._use(norm.weight, norm.bias)

    def _use(self, scale: Tensor, shift: Tensor) -> None:
        self._into.gamma, self._into.beta = address(scale), address(shift)

    def prepare_backward(self, blocks: int, *, gives_dy: bool = False) -> None:
        """Room for the gradients of the layer's own parameters, if they are wanted.

        With ``gives_dy`` whoever reads :attr:`dy` may keep it; otherwise it is there where
        :attr:`keeps_dy`.
        """
        if not self._trained:
            return
        if self.keeps_dy and self._own_dy is None and not gives_dy:
            self._own_dy = torch.empty_like(self._y)
        self.dy = torch.empty_like(self._y) if gives_dy else self._own_dy
        if self._sums is None:
            self._sums = self._y.new_empty(blocks, 3, self._y.shape[1])
        self._gradients = self._y.new_empty(3, self._y.shape[1])
        self._into.dy, self._into.sums = address(self.dy), address(self._sums)
        self._into.gradients = address(self._gradients)

    def sums(self) -> tuple[Tensor, ...]:
        """What a backward pass left: gradients of scale, shift and bias."""
        assert self._gradients is not None
        gradients, self._gradients = self._gradients, None
        return gradients.unbind()


class BlockLayer(_Normed):
    """``SiLU(LayerNorm(x W' + offset))`` on all rows of all time steps.

    Args:
        linear: W, and the bias that is the offset where none is given.
        norm: Scale and shift.
        rows: Of all time steps together.
        trained: Whether the gradients of the layer's parameters are wanted.
        into: The structure that is filled.
        weight: In place of W, where the input has columns that the layer does not read.
        keep_out: Keep the output.
        dropout: Behind the layer.
    """

    def __init__(
        self,
        linear: nn.Linear,
        norm: nn.LayerNorm,
        rows: int,
        trained: bool,
        into: CLayer,
        *,
        weight: Tensor | None = None,
        keep_out: bool = False,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__(norm, rows, linear.out_features, trained, into)
        self.packed = PackedLinear(linear, into.linear, weight)
        self.out = torch.empty_like(self._y) if keep_out else None
        into.out = address(self.out)
        self._dropout = dropout

    def use(self, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Compute with these from now on; the caller keeps them alive."""
        self.packed.use(weight, bias)
        self._use(scale, shift)

    def draw(self) -> None:
        """Which units the dropout keeps."""
        dropout = self._dropout
        if dropout is not None:
            drops = dropout.drops
            self._into.dropout = KeptUnits(dropout.p).structure if drops else CDropout()

    def give_out(self) -> Tensor:
        """Room for an output that is the caller's own."""
        out = torch.empty_like(self._y)
        self._into.out, self.out = address(out), None
        return out

    def parameter_gradients(self, x: Tensor | None) -> list[Tensor | None]:
        """Of weight, bias, scale and shift, from the inputs of all rows ``(rows, I)``."""
        of_scale, of_shift, of_bias = self.sums()
        return [self.packed.weight_gradient(self.dy, x), of_bias, of_scale, of_shift]


class BlockCell(_Normed):
    """:class:`~lawm.networks.NormedGRUCell` on all rows of all time steps."""

    def __init__(
        self, linear: nn.Linear, norm: nn.LayerNorm, rows: int, trained: bool, into: CCell
    ) -> None:
        super().__init__(norm, rows, linear.out_features, trained, into)
        of_x, of_h = self._parts(linear.weight.detach())
        self._of_x = PackedLinear(linear, into.of_x, of_x)
        self._of_h = PackedLinear(linear, into.of_h, of_h)

    def _parts(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        deter = weight.shape[0] // 3
        return weight[:, :-deter], weight[:, -deter:]

    def use(self, weight: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Compute with these from now on; the caller keeps them alive."""
        of_x, of_h = self._parts(weight.detach())
        self._of_x.use(of_x, None)
        self._of_h.use(of_h, None)
        self._use(scale, shift)

    def parameter_gradients(self, x: Tensor, h: Tensor) -> list[Tensor | None]:
        """Of weight, scale and shift, from the inputs of all rows ``(rows, X)``, ``(rows, D)``."""
        of_scale, of_shift, _ = self.sums()
        of_weight = self._of_x.weight_gradient(self.dy, x), self._of_h.weight_gradient(self.dy, h)
        return [torch.cat(of_weight, dim=1), of_scale, of_shift]


class BlockMLP:
    """Normed layers and perhaps a linear output layer, on all rows of all time steps.

    Args:
        layers: Linear layer, norm and dropout of each hidden layer.
        output: Without one the last hidden layer's output is the result.
        rows: Of all time steps together.
        trained: Whether the gradients of its parameters are wanted.
        into: The structure that is filled.
        in_one_call: All rows pass at once, through ``lawm_mlp_forward`` and ``_backward``, which
            in bfloat16 keep the factors of the weights' gradients as pairs, and nothing else.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        output: nn.Linear | None,
        rows: int,
        trained: bool,
        into: CMlp,
        *,
        in_one_call: bool = False,
    ) -> None:
        assert len(layers) <= MAX_LAYERS, len(layers)
        into.layers, self._rows = len(layers), rows
        self.ends_in_layer = output is None
        as_pairs = in_one_call and trained and in_bf16()
        self.layers = [
            BlockLayer(
                linear, norm, rows, trained, of, keep_out=trained and not as_pairs, dropout=dropout
            )
            for (linear, norm, dropout), of in zip(layers, into.layer, strict=False)
        ]
        self._output = None if output is None else PackedLinear(output, into.output)
        if as_pairs:
            for layer in self.layers:
                layer.keeps_dy = False
            for packed in self._linears():
                packed.keep_factors(rows)
        widths = [linear.out_features for linear, _, _ in layers]
        self.numbers = rows * max([*widths, 0 if output is None else output.out_features])

    def _linears(self) -> list[PackedLinear]:
        of_layers = [layer.packed for layer in self.layers]
        return of_layers if self._output is None else [*of_layers, self._output]

    def draw(self) -> None:
        """Which units the dropouts keep."""
        for layer in self.layers:
            layer.draw()

    def begin(self, parameters: Sequence[Tensor | None]) -> Tensor:
        """Compute with these from now on, and draw the dropouts; returns room for the output."""
        for number, layer in enumerate(self.layers):
            layer.use(*parameters[4 * number : 4 * number + 4])  # type: ignore[arg-type]
        self.draw()
        if self._output is None:
            return self.layers[-1].give_out()
        weight, bias = parameters[-2:]
        assert weight is not None
        self._output.use(weight, bias)
        return weight.new_empty(self._rows, weight.shape[0])

    def prepare_backward(self, blocks: int, *, gives_dy: bool = False) -> None:
        """Room for the gradients of the parameters, if they are wanted.

        With ``gives_dy`` whoever reads the first layer's may keep it.
        """
        for number, layer in enumerate(self.layers):
            layer.prepare_backward(blocks, gives_dy=gives_dy and number == 0)

    def prepare_gradients(self) -> None:
        """Room for those that ``lawm_mlp_backward`` makes where it can."""
        for packed in self._linears():
            packed.prepare_gradients(bias=packed is self._output)  # a layer's is one of its sums

    def parameter_gradients(self, x: Tensor, d_out: Tensor) -> list[Tensor | None]:
        """In the order of the parameters, from the inputs and the gradients of all outputs."""
        gradients: list[Tensor | None] = []
        read: Tensor | None = x
        for layer in self.layers:
            gradients += layer.parameter_gradients(read)
            read = layer.out
        return gradients if self._output is None else [*gradients, *self._output.gradients(d_out, read)]


__all__ = ["BlockCell", "BlockLayer", "BlockMLP", "HiddenLayer", "PackedLinear"]
