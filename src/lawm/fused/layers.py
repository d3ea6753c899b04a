"""Layers as the kernels run them: buffers for all rows of all time steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm.fused.dropout import Dropout, KeptUnits
from lawm.fused.kernels import in_bf16
from lawm.fused.packed_linear import PackedLinear
from lawm.fused.structures import CCell, CDropout, CLayer, address


class _Normed:
    """Buffers of a layer norm behind a product with a weight, for all rows of all steps.

    What the backward pass reads, the normed rows, is bfloat16 where products are: plain autocast
    keeps the product itself in that. To write and read it is much of an update's time.
    """

    def __init__(
        self, norm: nn.LayerNorm, rows: int, cols: int, trained: bool, into: CLayer | CCell
    ) -> None:
        self._into, self._trained = into, trained
        self._shape = rows, cols
        self._rstd = norm.weight.new_empty(rows, requires_grad=False)
        self._normed = self._rstd.new_empty(
            rows, cols, dtype=torch.bfloat16 if in_bf16() else torch.float32
        )
        self._sums: Tensor | None = None
        self._gradients: Tensor | None = None
        self.keeps_dy = True
        self._own_dy: Tensor | None = None
        self.dy: Tensor | None = None
        into.eps, into.rstd = norm.eps, address(self._rstd)
        into.normed = self._normed.data_ptr()
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
            self._own_dy = self._room()
        self.dy = self._room() if gives_dy else self._own_dy
        if self._sums is None:
            self._sums = self._rstd.new_empty(blocks, 3, self._shape[1])
        self._gradients = self._rstd.new_empty(3, self._shape[1])
        self._into.dy, self._into.sums = address(self.dy), address(self._sums)
        self._into.gradients = address(self._gradients)

    def _room(self) -> Tensor:
        """For numbers of all rows."""
        return self._rstd.new_empty(self._shape)

    def sums(self) -> tuple[Tensor, ...]:
        """What a backward pass left: gradients of scale, shift and bias."""
        assert self._gradients is not None
        gradients, self._gradients = self._gradients, None
        self._into.gradients = None  # whoever gets them owns them
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
    ) -> None:
        super().__init__(norm, rows, linear.out_features, trained, into)
        self.packed = PackedLinear(linear, into.linear, weight)
        self.out = self._room() if keep_out else None
        into.out = address(self.out)

    def use(self, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Compute with these from now on; the caller keeps them alive."""
        self.packed.use(weight, bias)
        self._use(scale, shift)

    def follow(self, linear: nn.Linear, norm: nn.LayerNorm, weight: Tensor | None = None) -> None:
        """Compute with the parameters that these have now; ``weight`` in place of W."""
        self.use(linear.weight if weight is None else weight, linear.bias, norm.weight, norm.bias)

    def draw(self, dropout: Dropout | None) -> None:
        """Which units this dropout keeps, behind the layer."""
        drawn = CDropout()
        if dropout is not None and dropout.drops:
            drawn = KeptUnits(dropout.p).structure
        self._into.dropout = drawn

    def give_out(self) -> Tensor:
        """Room for an output that is the caller's own."""
        out = self._room()
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

    def follow(self, linear: nn.Linear, norm: nn.LayerNorm) -> None:
        """Compute with the parameters that these have now."""
        of_x, of_h = self._parts(linear.weight.detach())
        self._of_x.use(of_x, None)
        self._of_h.use(of_h, None)
        self._use(norm.weight, norm.bias)

    def parameter_gradients(self, x: Tensor, h: Tensor) -> list[Tensor | None]:
        """Of weight, scale and shift, from the inputs of all rows ``(rows, X)``, ``(rows, D)``."""
        of_scale, of_shift, _ = self.sums()
        of_weight = x.new_empty(self._shape[1], x.shape[1] + h.shape[1])
        for linear, read, out in zip(
            (self._of_x, self._of_h), (x, h), self._parts(of_weight), strict=True
        ):
            linear.weight_gradient(self.dy, read, out)
        return [of_weight, of_scale, of_shift]


__all__ = ["BlockCell", "BlockLayer"]
