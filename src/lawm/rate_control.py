"""The weight beta_u of the latent action's KL: set by hand, or held at a target rate.

Too small a beta lets u carry far more than an action (leak), too large a one lets it carry nothing
(collapse). A rate constraint ``E[KL(q(u)||p(u))] = target`` with a dual variable finds the band by
itself; the dual ascent on ``log beta`` is that of GECO (Rezende & Viola, "Taming VAEs", Sec. 2),
applied to the rate in place of the reconstruction: our own derivation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FixedRate(nn.Module):
    """A hand-set beta."""

    value: Tensor

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(beta), persistent=False)

    def beta(self) -> Tensor:
        """Weight of the KL, a scalar without gradient."""
        return self.value

    def dual_loss(self, rate: Tensor) -> Tensor:
        """Zero: nothing to learn."""
        return torch.zeros_like(rate)


class TargetRate(nn.Module):
    """Raises beta while the rate is above ``target`` nats and lowers it while it is below.

    Args:
        target: Wanted KL of u in nats a step, summed over its dimensions.
        initial_beta: Where beta starts.
        min_beta: beta is kept within [min_beta, max_beta].
        max_beta: See ``min_beta``.
    """

    def __init__(
        self,
        target: float,
        initial_beta: float = 0.3,
        min_beta: float = 1e-3,
        max_beta: float = 10.0,
    ) -> None:
        super().__init__()
        self.target = target
        self.low, self.high = math.log(min_beta), math.log(max_beta)
        self.log_beta = nn.Parameter(torch.tensor(math.log(initial_beta)))

    def beta(self) -> Tensor:
        """Weight of the KL, a scalar without gradient."""
        return self.log_beta.detach().clamp(self.low, self.high).exp()

    def dual_loss(self, rate: Tensor) -> Tensor:
        """Its gradient step moves ``log beta`` by (rate - target): dual ascent.

        Beyond a bound only the way back has a gradient.
        """
        log_beta = self.log_beta
        excess = rate.detach() / self.target - 1.0
        inside = torch.where(excess > 0, log_beta < self.high, log_beta > self.low)
        return -log_beta * excess * inside


RateControl = FixedRate | TargetRate


__all__ = ["FixedRate", "RateControl", "TargetRate"]
