"""A weight as the kernels multiply with it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from lawm.fused.build import loaded_kernels
from lawm.fused.kernels import in_bf16
from lawm.fused.structures import CLinear, address, checked


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
        packed = torch.split(weight.new_empty(sum(sizes)), list(sizes))
        into.inputs, into.outputs, into.bf16 = inputs, outputs, self.bf16
        into.rounded, into.forward, into.backward = map(address, (rounded, *packed))
        self._into, self._shape, self._keep = into, weight.shape, (rounded, packed)
        self.numbers = sum(sizes)
        self._pairs: tuple[Tensor, Tensor] | None = None
        self._of_weight: Tensor | None = None
        self._of_bias: Tensor | None = None
        self.use(weight, linear.bias)

    def use(self, weight: Tensor, bias: Tensor | None) -> None:
        """Multiply with these from now on; the caller keeps them alive."""
        assert weight.shape == self._shape, (weight.shape, self._shape)
        assert weight.stride(1) == 1, weight.stride()
        into, self._has_bias = self._into, bias is not None
        into.weight, into.stride, into.bias = address(weight), weight.stride(0), address(bias)

    def keep_factors(self, rows: int) -> None:
        """Room for those of the weight's gradient, rounded in pairs of rows as they are made."""
        into, like, pairs = self._into, self._keep[1][0], -(-rows // 2)
        x_pairs = like.new_empty(_packed_size(pairs, into.inputs))
        dy_pairs = like.new_empty(pairs * into.outputs)
        self.numbers += x_pairs.numel() + dy_pairs.numel()
        into.x_pairs, into.dy_pairs = address(x_pairs), address(dy_pairs)
        self._pairs = x_pairs, dy_pairs

    def prepare_gradients(self, bias: bool) -> None:
        """Room for what a kernel can make: the weight's from pairs, the bias's."""
        into, like = self._into, self._keep[1][0]
        if self._pairs is not None:
            self._of_weight = like.new_empty(self._shape)
            into.gradient = address(self._of_weight)
        if bias and self._has_bias:
            self._of_bias = like.new_empty(self._shape[0])
            into.bias_gradient = address(self._of_bias)

    def weight_gradient(
        self, d_out: Tensor | None, x: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        """From all rows ``(rows, O)`` and ``(rows, I)``; None where pairs of them were kept.

        It is written to ``out`` where that is given.
        """
        made, self._of_weight = self._of_weight, None  # autograd copies what others hold
        if made is not None:
            self._into.gradient = None
            return made
        assert d_out is not None
        assert x is not None
        if not self.bf16 or len(x) == 0:
            return torch.mm(d_out.t(), x, out=out)
        if out is None:
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


__all__ = ["PackedLinear"]
