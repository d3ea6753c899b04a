"""What leaving the latent-action prior costs a policy, and when it costs less.

How much a task wants its policy to leave the prior differs: a walker that gets up must go far, and
one weight that keeps a cheetah from running into what its model does not know keeps a cartpole from
balancing. Where the policy stays nearer than it may, the weight falls; it never rises above what
was set.

    d      = mean over imagined states of |mode of pi - mean of p|^2 / 2, in deviations of p(u|s)
    log w += rate (d / distance - 1),  w at most prior_weight

Dual ascent on the constraint d <= distance, bounded from above; our own derivation, after the
temperature of soft actor-critic (arXiv 1812.05905, Sec. 5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RATE = 0.05  # of the logarithm an update, at most: a tenth of the weight takes fifty updates
LEAST = 0.01  # share of the weight that always stays


class PriorWeight(nn.Module):
    """The weight, as it moves while a policy is trained.

    Args:
        weight: Where it begins, and what it never exceeds; 0: leaving the prior is free.
        distance: Up to which distance d it falls; 0: it stays.
    """

    log_share: Tensor  # (), log of the share of the greatest weight

    def __init__(self, weight: float, distance: float) -> None:
        super().__init__()
        self.weight, self.distance = weight, distance
        self.register_buffer("log_share", torch.zeros(()))

    def current(self) -> Tensor:
        """The weight, ()."""
        return self.weight * self.log_share.exp()

    @torch.no_grad()
    def update(self, distance: Tensor) -> None:
        """Move it by the distance d, (), of an update that was made.

        A distance that is not finite is left out, so that it does not stay for ever.
        """
        if self.distance > 0.0:
            excess = (distance / self.distance - 1.0).clamp(-1.0, 1.0)
            self.log_share.add_(RATE * torch.where(distance.isfinite(), excess, 0.0))
            self.log_share.clamp_(math.log(LEAST), 0.0)


__all__ = ["PriorWeight"]
