"""Imagined trajectories: the policy inside the frozen world model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.networks import MLP
from lawm.rssm import ModelState
from lawm.support_constraint import SupportConstraint
from lawm.world_model import WorldModel


@dataclass(frozen=True)
class ImaginedTrajectory:
    """H imagined steps from N starts, time first; gradients reach the policy through it."""

    features: Tensor  # (H + 1, N, D + Z)
    reward: Tensor  # (H, N), r_t of the transition s_t -> s_{t+1}
    continuation: Tensor  # (H, N), probability that s_t -> s_{t+1} was not terminal
    entropy: Tensor  # (H, N), one-sample estimate of the policy's entropy in nats


class LatentPolicy(nn.Module):
    """pi(v | s): a Gaussian over the constraint's raw sample.

    Args:
        features: Size of s.
        size: Dimensions of v.
        hidden: Width.
        num_layers: Hidden layers.
        min_std: Bounds of the standard deviation.
        max_std: See ``min_std``.
    """

    def __init__(
        self,
        features: int,
        size: int,
        hidden: int,
        num_layers: int,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = MLP(features, hidden, 2 * size, num_layers, output_scale=0.1)
        self.min_std, self.max_std = min_std, max_std

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of v, each ``(..., size)``."""
        mean, raw_std = self.network(features).chunk(2, dim=-1)
        std = self.min_std + (self.max_std - self.min_std) * torch.sigmoid(raw_std)
        return 5.0 * torch.tanh(mean / 5.0), std


def choose(
    model: WorldModel,
    policy: LatentPolicy,
    constraint: SupportConstraint,
    features: Tensor,
    stochastic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The policy's step at s: latent action, decoded action in [-1, 1], entropy estimate."""
    mean, std = policy(features)
    v = torch.addcmul(mean, std, torch.randn_like(mean)) if stochastic else mean
    u = constraint.apply(model.latent_action.prior(features), v, stochastic)
    action = model.latent_action.decode(features, u)
    # entropy of v up to a constant, plus the log-volume of the squashing
    entropy = std.log().sum(dim=-1) + constraint.log_det(v)
    return u, action, entropy


def imagine(
    model: WorldModel,
    policy: LatentPolicy,
    constraint: SupportConstraint,
    start: ModelState,
    horizon: int,
) -> ImaginedTrajectory:
    """``horizon`` steps of the prior under the policy from ``start`` (N rows).

    The action that enters the model is the decoder's mean: sampled decoder noise teaches nothing
    and hands the policy a noisy gradient.
    """
    state, rssm = start, model.rssm.bind()
    features = [state.features]
    entropies = []
    for _ in range(horizon):
        u, action, entropy = choose(model, policy, constraint, features[-1], stochastic=True)
        state = model.imagine_step(rssm, state, model.transition_input.act(u, action))
        features.append(state.features)
        entropies.append(entropy)
    stacked = torch.stack(features)
    after = stacked[1:]
    return ImaginedTrajectory(
        features=stacked,
        reward=model.reward(after),
        continuation=torch.sigmoid(model.continue_logit(after)),
        entropy=torch.stack(entropies),
    )


__all__ = ["ImaginedTrajectory", "LatentPolicy", "choose", "imagine"]
