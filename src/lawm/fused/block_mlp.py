"""An MLP as the kernels run it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lawm.fused.dropout import Dropout
from lawm.fused.layers import BlockLayer
from lawm.fused.packed_linear import PackedLinear
from lawm.fused.structures import MAX_LAYERS, CMlp

HiddenLayer = tuple[nn.Linear, nn.LayerNorm, Dropout | None]  # SiLU stands before the dropout


class BlockMLP:
    """Normed layers and perhaps a linear output layer, on all rows of all time steps.

    Args:
        layers: Linear layer, norm and dropout of each hidden layer; dropouts may differ from call
            to call.
        output: Without one the last hidden layer's output is the result.
        rows: Of all time steps together.
        trained: Whether the gradients of its parameters are wanted.
        into: The structure that is filled.
        as_pairs: Keep the factors of the weights' gradients as pairs of rows in bfloat16, of which
            the kernel then makes them; every step must have an even number of rows.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        output: nn.Linear | None,
        rows: int,
        trained: bool,
        into: CMlp,
        *,
        as_pairs: bool = False,
    ) -> None:
        assert len(layers) <= MAX_LAYERS, len(layers)
        into.layers, self._rows = len(layers), rows
        self.ends_in_layer = output is None
        self.layers = [
            BlockLayer(linear, norm, rows, trained, of, keep_out=trained and not as_pairs)
            for (linear, norm, _), of in zip(layers, into.layer, strict=False)
        ]
        self._output = None if output is None else PackedLinear(output, into.output)
        if as_pairs:
            for layer in self.layers:
                layer.keeps_dy = False
            for packed in self._linears():
                packed.keep_factors(rows)
        widths = sum(linear.out_features for linear, _, _ in layers)
        self.numbers = 3 * rows * widths + sum(packed.numbers for packed in self._linears())

    def _linears(self) -> list[PackedLinear]:
        of_layers = [layer.packed for layer in self.layers]
        return of_layers if self._output is None else [*of_layers, self._output]

    def draw(self, layers: Sequence[HiddenLayer]) -> None:
        """Which units the dropouts of these layers keep."""
        for layer, (_, _, dropout) in zip(self.layers, layers, strict=True):
            layer.draw(dropout)

    def begin(self, parameters: Sequence[Tensor | None], layers: Sequence[HiddenLayer]) -> Tensor:
        """Compute with these parameters from now on, and with the dropouts of these layers.

        Returns:
            Room for the output.
        """
        for number, layer in enumerate(self.layers):
            layer.use(*parameters[4 * number : 4 * number + 4])  # type: ignore[arg-type]
        self.draw(layers)
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
        """Room for those that a kernel makes: of weights from pairs, of the output's bias."""
        for packed in self._linears():
            packed.prepare_gradients(bias=packed is self._output)  # a layer's is one of its sums

    def parameter_gradients(self, x: Tensor, d_out: Tensor) -> list[Tensor | None]:
        """In the order of the parameters, from the inputs and the gradients of all outputs."""
        gradients: list[Tensor | None] = []
        read: Tensor | None = x
        for layer in self.layers:
            gradients += layer.parameter_gradients(read)
            read = layer.out
        return (
            gradients
            if self._output is None
            else [*gradients, *self._output.gradients(d_out, read)]
        )


__all__ = ["BlockMLP", "HiddenLayer"]
