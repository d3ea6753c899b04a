"""Returns in imagination."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def lambda_returns(
    reward: Tensor, discount: Tensor, next_value: Tensor, lambda_: float | Tensor
) -> Tensor:
    """TD(lambda) returns.

        R_t = r_t + g_t [(1 - lambda) v(s_{t+1}) + lambda R_{t+1}],   R_H = v(s_H)

    Sutton & Barto, "Reinforcement Learning" (2nd ed.), Eq. 12.20; Hafner et al. (DreamerV2), Eq. 4.

    Args:
        reward: r_t for t in [0, H), ``(H, B)``.
        discount: g_t, the discount times the probability that the episode goes on, ``(H, B)``.
        next_value: v(s_{t+1}) for t in [0, H), ``(H, B)``.
        lambda_: Between 0 (one-step targets) and 1 (the sum of rewards, and the last value); for
            all steps, or ``(H, B)``.

    Returns:
        R_t for t in [0, H), ``(H, B)``.
    """
    assert reward.shape == discount.shape == next_value.shape, (
        reward.shape,
        discount.shape,
        next_value.shape,
    )
    step_target = reward + discount * (1.0 - lambda_) * next_value
    decay = discount * lambda_
    returns = []
    following = next_value[-1]
    # unbound once: an index for each step is a gradient of all steps' size for each step
    for target, factor in zip(step_target.unbind()[::-1], decay.unbind()[::-1], strict=True):
        following = torch.addcmul(target, factor, following)
        returns.append(following)
    return torch.stack(returns[::-1])


def until_first_failure(holds: Tensor) -> Tensor:
    """1 up to the first step of a rollout in which something does not hold, then 0: ``(H, B)``."""
    return holds.float().cumprod(dim=0)


def arrival(discount: Tensor) -> Tensor:
    """``w_t``, the product of the discounts ``(H, B)`` before t, alike, without gradient."""
    earlier = torch.cat([torch.ones_like(discount[:1]), discount[:-1]])
    return earlier.cumprod(dim=0).detach()


class PercentileScale(nn.Module):
    """Moving range of the returns, from the 5th to the 95th percentile (DreamerV3, Eq. 7).

    Dividing by ``max(least, range)`` gives one entropy weight for tasks of any reward scale,
    without blowing up the noise of returns that are near zero.

    Args:
        decay: Of the moving range, per update.
        least: Size of a reward, below which returns are not told apart.
    """

    low: Tensor
    high: Tensor
    started: Tensor

    def __init__(self, decay: float = 0.99, least: float = 1.0) -> None:
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("started", torch.zeros(()))

    @torch.no_grad()
    def percentiles(self, returns: Tensor) -> Tensor:
        """The 5th and 95th percentile of one batch, ``(2,)``."""
        q = returns.new_tensor([0.05, 0.95])
        return torch.quantile(returns.flatten().float(), q)

    @torch.no_grad()
    def update(self, percentiles: Tensor) -> Tensor:
        """Fold in one batch's percentiles; returns the scale, a scalar.

        Those that are not finite are left out, so that they do not stay for ever.
        """
        percentiles = torch.where(
            percentiles.isfinite(), percentiles, torch.stack([self.low, self.high])
        )
        weight = torch.where(self.started > 0, 1.0 - self.decay, 1.0)
        self.low.lerp_(percentiles[0], weight)
        self.high.lerp_(percentiles[1], weight)
        self.started.fill_(1.0)
        return (self.high - self.low).clamp_min(self.least)


__all__ = ["PercentileScale", "arrival", "lambda_returns", "until_first_failure"]
