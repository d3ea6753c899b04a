"""A straightforward eager Dreamer update from stock modules: what the benchmark compares with.

The RSSM of DreamerV2/V3 with a Gaussian state and no latent action, at the sizes it is given, as
public PyTorch implementations write it: one ``nn.Module`` call and one ``torch.distributions``
object for every network and every time step, prior and posterior in the loop, heads and KL after
it, ``clip_grad_norm_`` and Adam. Stage 2 is the actor-critic of Dreamer in the imagination of that
model, gradients through the dynamics. It does less work than lawm's own update, which trains four
networks of the latent action beside these.
"""

from __future__ import annotations

import copy

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(in_features: int, hidden: int, out_features: int, num_layers: int = 2) -> nn.Sequential:
    """Linear, layer norm, SiLU; then a linear output."""
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.Linear(in_features, hidden), nn.LayerNorm(hidden, eps=1e-3), nn.SiLU()]
        in_features = hidden
    return nn.Sequential(*layers, nn.Linear(hidden, out_features))


class GRUCell(nn.Module):
    """DreamerV2's cell: one layer norm over all gates."""

    def __init__(self, in_features: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features + size, 3 * size, bias=False)
        self.norm = nn.LayerNorm(3 * size, eps=1e-3)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(B, I), (B, D) -> (B, D)."""
        reset, candidate, update = self.norm(self.linear(torch.cat([x, h], -1))).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1.0)
        return update * candidate + (1.0 - update) * h


def normal(params: Tensor) -> td.Independent:
    """Mean and raw standard deviation to a distribution."""
    mean, raw_std = params.chunk(2, -1)
    return td.Independent(td.Normal(mean, F.softplus(raw_std) + 0.1), 1)


class ReferenceWorldModel(nn.Module):
    """Encoder, RSSM and heads."""

    def __init__(self, obs_dim: int, action_dim: int, deter: int, stoch: int, hidden: int) -> None:
        super().__init__()
        self.deter, self.stoch = deter, stoch
        self.encoder = mlp(obs_dim, hidden, hidden)
        self.transition = nn.Sequential(
            nn.Linear(stoch + action_dim, hidden), nn.LayerNorm(hidden, eps=1e-3), nn.SiLU()
        )
        self.cell = GRUCell(hidden, deter)
        self.prior = mlp(deter, hidden, 2 * stoch, 1)
        self.posterior = mlp(deter + hidden, hidden, 2 * stoch, 1)
        self.decoder = mlp(deter + stoch, hidden, obs_dim)
        self.reward = mlp(deter + stoch, hidden, 1)
        self.continuation = mlp(deter + stoch, hidden, 1, 1)

    def img_step(self, h: Tensor, z: Tensor, action: Tensor) -> tuple[Tensor, td.Independent]:
        """Next h, and the prior there."""
        h = self.cell(self.transition(torch.cat([z, action], -1)), h)
        return h, normal(self.prior(h))

    def loss(self, obs: Tensor, action: Tensor, reward: Tensor, terminated: Tensor) -> Tensor:
        """Obs ``(B, T + 1, O)``, action ``(B, T, A)``, reward and terminated ``(B, T)``."""
        embed = self.encoder(obs)
        h = obs.new_zeros(obs.shape[0], self.deter)
        prior = normal(self.prior(h))
        hs, zs, priors, posteriors = [], [], [], []
        for t in range(obs.shape[1]):
            posterior = normal(self.posterior(torch.cat([h, embed[:, t]], -1)))
            z = posterior.rsample()
            hs.append(h)
            zs.append(z)
            priors.append(prior)
            posteriors.append(posterior)
            if t < action.shape[1]:
                h, prior = self.img_step(h, z, action[:, t])
        features = torch.cat([torch.stack(hs, 1), torch.stack(zs, 1)], -1)

        def stacked(items: list[td.Independent], detach: bool) -> td.Independent:
            mean = torch.stack([d.base_dist.loc for d in items], 1)
            std = torch.stack([d.base_dist.scale for d in items], 1)
            if detach:
                mean, std = mean.detach(), std.detach()
            return td.Independent(td.Normal(mean, std), 1)

        kl = td.kl_divergence
        to_prior = kl(stacked(posteriors, True), stacked(priors, False))
        to_posterior = kl(stacked(posteriors, False), stacked(priors, True))
        kl_loss = 0.8 * to_prior.clamp_min(0.5) + 0.2 * to_posterior.clamp_min(0.5)
        mean = self.decoder(features)
        obs_loss = -td.Independent(td.Normal(mean, 1.0), 1).log_prob(obs)
        after = features[:, 1:]
        reward_loss = -td.Normal(self.reward(after).squeeze(-1), 1.0).log_prob(reward)
        logit = self.continuation(after).squeeze(-1)
        continue_loss = F.binary_cross_entropy_with_logits(logit, 1.0 - terminated)
        loss: Tensor = obs_loss.mean() + kl_loss.mean() + reward_loss.mean() + continue_loss
        return loss


class ReferenceActorCritic(nn.Module):
    """Actor, critic and its target in the imagination of a frozen model."""

    def __init__(self, model: ReferenceWorldModel, action_dim: int, hidden: int) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        features = model.deter + model.stoch
        self.actor = mlp(features, hidden, 2 * action_dim)
        self.critic = mlp(features, hidden, 1)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)

    def loss(self, h: Tensor, z: Tensor, horizon: int) -> Tensor:
        """Of actor and critic from start states ``(N, D)``, ``(N, Z)``."""
        features, entropies = [torch.cat([h, z], -1)], []
        for _ in range(horizon):
            policy = normal(self.actor(features[-1]))
            action = policy.rsample()
            entropies.append(policy.entropy())
            h, prior = self.model.img_step(h, z, torch.tanh(action))
            z = prior.rsample()
            features.append(torch.cat([h, z], -1))
        stacked = torch.stack(features)
        reward = self.model.reward(stacked[1:]).squeeze(-1)
        discount = 0.99 * torch.sigmoid(self.model.continuation(stacked[1:]).squeeze(-1))
        value = self.target(stacked[1:]).squeeze(-1)
        returns, following = [], value[-1]
        for t in reversed(range(horizon)):
            following = reward[t] + discount[t] * (0.05 * value[t] + 0.95 * following)
            returns.append(following)
        target = torch.stack(returns[::-1])
        weight = torch.cat([torch.ones_like(discount[:1]), discount[:-1]]).cumprod(0).detach()
        actor_loss = -(weight * (target + 1e-3 * torch.stack(entropies))).mean()
        prediction = self.critic(stacked[:-1].detach()).squeeze(-1)
        critic_loss = (weight * 0.5 * (prediction - target.detach()).square()).mean()
        loss: Tensor = actor_loss + critic_loss
        return loss

    @torch.no_grad()
    def update_target(self) -> None:
        """EMA."""
        for slow, fast in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.02)


__all__ = ["ReferenceActorCritic", "ReferenceWorldModel"]
