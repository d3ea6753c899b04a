"""The recurrent state-space model: deterministic h and stochastic z.

    recurrence   h_t = f(h_{t-1}, z_{t-1}, x_{t-1})
    prior        p(z_t | h_t)
    posterior    q(z_t | h_t, e_t)

Hafner et al., "Learning Latent Dynamics for Planning from Pixels" (PlaNet), Eq. 3 to 6, with the
cell and the networks of DreamerV3. What x is, is decided in ``transition_input``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.latents import Latent
from lawm.networks import Linear, NormedGRUCell, NormedLinear


@dataclass(frozen=True)
class ModelState:
    """s = (h, z), any number of leading dimensions."""

    h: Tensor  # (..., D)
    z: Tensor  # (..., Z)

    @property
    def features(self) -> Tensor:
        """``[h, z]``, what the heads read: (..., D + Z)."""
        return torch.cat([self.h, self.z], dim=-1)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ModelState:
        """The same state on another device; what Lightning calls on a batch."""
        return ModelState(
            self.h.to(device, non_blocking=non_blocking),
            self.z.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class RSSMStep:
    """One step of the recurrence as plain functions."""

    recur: Callable[[Tensor, Tensor, Tensor], Tensor]
    """``h_{t+1} = f(h_t, z_t, x_t)``: (B, D), (B, Z), (B, X) -> (B, D)."""
    posterior: Callable[[Tensor, Tensor], Tensor]
    """Parameters of ``q(z | h, e)``: (B, D) and :meth:`RSSM.project_embed` of e -> (B, .)."""


class RSSM(nn.Module):
    """One step of the recurrence, and the two distributions of z.

    Args:
        latent: The kind of z.
        deter: D, size of h.
        hidden: Width of the layers around the cell.
        embed: Size of the observation's embedding e.
        transition_size: Size of the transition input x.
    """

    def __init__(
        self, latent: Latent, deter: int, hidden: int, embed: int, transition_size: int
    ) -> None:
        super().__init__()
        self.latent = latent
        self.deter = deter
        self.transition_layer = NormedLinear(latent.size + transition_size, hidden)
        self.cell = NormedGRUCell(hidden, deter)
        self.embed_projection = Linear(embed, hidden, bias=False)
        self.posterior_layer = NormedLinear(deter, hidden)
        self.posterior_output = Linear(hidden, latent.num_params)
        self.prior_layer = NormedLinear(deter, hidden)
        self.prior_output = Linear(hidden, latent.num_params)

    @property
    def feature_size(self) -> int:
        """D + Z."""
        return self.deter + self.latent.size

    def initial_h(self, num: int, like: Tensor) -> Tensor:
        """State h before the first observation: zeros ``(num, D)``, typed as ``like``."""
        return like.new_zeros(num, self.deter)

    def bind(self) -> RSSMStep:
        """The sequential part as plain functions, for a loop over time."""
        transition, cell = self.transition_layer.bind(), self.cell.bind()
        posterior = self.posterior_layer.bind()
        weight, bias = self.posterior_output.weight.t(), self.posterior_output.bias

        def recur(h: Tensor, z: Tensor, x: Tensor) -> Tensor:
            return cell(transition(torch.cat([z, x], dim=-1)), h)

        def posterior_params(h: Tensor, embed_projected: Tensor) -> Tensor:
            return torch.addmm(bias, posterior(h, embed_projected), weight)

        return RSSMStep(recur, posterior_params)

    def project_embed(self, embed: Tensor) -> Tensor:
        """The part of q(z|h,e) that does not depend on h, for all steps at once."""
        out: Tensor = self.embed_projection(embed, self.posterior_layer.linear.bias)
        return out

    def prior(self, h: Tensor) -> Tensor:
        """Parameters of ``p(z | h)``, ``(..., num_params)``."""
        out: Tensor = self.prior_layer(h, then=self.prior_output)
        return out


__all__ = ["RSSM", "ModelState", "RSSMStep"]
