"""Building blocks: linear layer, layer norm, SiLU, in that order, as in DreamerV3."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.fused.block_mlp import HiddenLayer
from lawm.fused.dropout import Dropout
from lawm.fused.kernels import in_bf16, kernels_usable
from lawm.fused.layer_stack import MAX_LAYERS, StackPlan, layer_stack
from lawm.fused.plans import Plans

NORM_EPS = 1e-3  # DreamerV3's


class Linear(nn.Linear):
    """``nn.Linear``, on the kernels where they multiply in bfloat16: no copies in another type."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.plans: Plans[StackPlan] = Plans()

    def forward(self, input: Tensor, added: Tensor | None = None) -> Tensor:
        """``(..., in_features) -> (..., out_features)``; ``added``, a bias for one without."""
        if in_bf16() and kernels_usable(self.weight):
            return layer_stack(input, [], self, added=added, plans=self.plans)
        out = super().forward(input)
        return out if added is None else out + added


class NormedLinear(nn.Module):
    """``SiLU(LayerNorm(W x + b))``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.LayerNorm(out_features, eps=NORM_EPS)
        self.plans: Plans[StackPlan] = Plans()

    def bind(self) -> Callable[..., Tensor]:
        """The layer as a plain function ``f(x, projected=None)`` for a loop over time.

        ``x`` is ``(B, in_features)``; ``projected``, ``(B, out_features)``, takes the bias's place:
        what does not depend on the recurrence is projected for all time steps at once. Looking up
        parameters through modules costs as much as a small matrix product; a bound function looks
        them up once.
        """
        weight, bias = self.linear.weight.t(), self.linear.bias
        shape, scale, shift = self.norm.normalized_shape, self.norm.weight, self.norm.bias

        def apply(x: Tensor, projected: Tensor | None = None) -> Tensor:
            y = torch.addmm(bias if projected is None else projected, x, weight)
            return F.silu(torch.layer_norm(y, shape, scale, shift, NORM_EPS))

        return apply

    def forward(
        self,
        x: Tensor,
        projected: Tensor | None = None,
        *,
        dropout: Dropout | None = None,
        then: nn.Linear | None = None,
        added: Tensor | None = None,
    ) -> Tensor:
        """``(..., in_features)``, and ``(..., out_features)`` in place of the bias.

        ``dropout`` and ``then``, a linear layer, follow one behind the other; ``added`` is a bias
        for one without.
        """
        assert added is None or then is not None
        if kernels_usable(self.linear.weight):
            layers = [(self.linear, self.norm, dropout)]
            return layer_stack(x, layers, then, projected, added=added, plans=self.plans)
        y = self.linear(x) if projected is None else projected + x @ self.linear.weight.t()
        out = F.silu(self.norm(y))
        if dropout is not None:
            out = dropout(out)
        if then is not None:
            out = then(out)
        return out if added is None else out + added


class MLP(nn.Module):
    """``num_layers`` hidden :class:`NormedLinear` layers and a linear output layer.

    Args:
        in_features: Size of the input's last dimension.
        hidden: Width of the hidden layers.
        out_features: Size of the output's last dimension.
        num_layers: Number of hidden layers, at least 1.
        output_scale: Factor on the initial output weights; 0 makes the first outputs zero
            (DreamerV3 does so for reward and value heads).
        dropout: Probability of dropping a hidden unit while training.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        out_features: int,
        num_layers: int = 2,
        output_scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [in_features] + [hidden] * num_layers
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(NormedLinear(n_in, n_out), Dropout(dropout))
                if dropout
                else NormedLinear(n_in, n_out)
                for n_in, n_out in pairwise(sizes)
            )
        )
        self.output = Linear(hidden, out_features)
        self.plans: Plans[StackPlan] = Plans()
        with torch.no_grad():
            self.output.weight.mul_(output_scale)
            self.output.bias.zero_()

    def hidden_layers(self) -> list[HiddenLayer]:
        """Linear layer, norm and perhaps dropout of each hidden layer."""
        layers: list[HiddenLayer] = []
        for part in self.hidden:
            layer, *behind = part if isinstance(part, nn.Sequential) else (part,)
            assert isinstance(layer, NormedLinear)
            dropout = next((m for m in behind if isinstance(m, Dropout)), None)
            layers.append((layer.linear, layer.norm, dropout))
        return layers

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features) -> (..., out_features)``."""
        if kernels_usable(self.output.weight) and len(self.hidden) <= MAX_LAYERS:
            return layer_stack(x, self.hidden_layers(), self.output, plans=self.plans)
        y: Tensor = self.output(self.hidden(x))
        return y


class NormedGRUCell(nn.Module):
    """A GRU cell with one layer norm over all gates, as in DreamerV2 and V3.

    The update gate starts near 0.27 (bias -1), so that the state changes slowly at first.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.linear = nn.Linear(in_features + hidden, 3 * hidden, bias=False)
        self.norm = nn.LayerNorm(3 * hidden, eps=NORM_EPS)  # of reset, update, candidate
        with torch.no_grad():
            self.norm.bias[hidden : 2 * hidden] = -1.0

    def bind(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The cell as a plain function ``f(x, h)`` for a loop over time."""
        weight, size = self.linear.weight.t(), self.hidden
        shape, scale, shift = self.norm.normalized_shape, self.norm.weight, self.norm.bias

        def apply(x: Tensor, h: Tensor) -> Tensor:
            product = torch.mm(torch.cat([x, h.to(x.dtype)], dim=-1), weight).to(h.dtype)
            gates = torch.layer_norm(product, shape, scale, shift, NORM_EPS)
            logits, candidate = torch.split(gates, [2 * size, size], dim=-1)
            reset, update = torch.sigmoid(logits).chunk(2, dim=-1)
            return torch.lerp(h, torch.tanh(reset * candidate), update)

        return apply

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """``(B, in_features), (B, hidden) -> (B, hidden)``."""
        return self.bind()(x, h)


__all__ = ["MLP", "Linear", "NormedGRUCell", "NormedLinear"]
