"""The prior of u, trained anew on what turned out well: stage 2 is held to good behaviour.

    A_t = G_t - V_b(s_t)    G_t the lambda-return along the episode, V_b the behaviour's value
    c_t = min(exp((A_t - mean A) / (temperature std A)), 10),   w_t = c_t / mean c
    min E[w_t KL(q(u_t) || p(u | s_t))]    q the posterior by which stage 1 trained the prior

A prior that imitates all data holds a policy near their average, poor attempts included. Weights of
advantages are those of AWR (Peng et al., arXiv 1910.00177, Eq. 10, and the bound of its
Sec. 5) and of AWAC (Nair et al., arXiv 2006.09359); on a prior that a policy may leave at a price,
of trajectories whose actions and rewards are partly inferred, they are our own combination.
``docs/policy-experiments.md`` has the figures.

Rewards are what the model says of the states that were reached, on all trajectories alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lawm.fused.optimizer import FusedAdamW, clip_gradient_norm
from lawm.networks import MLP
from lawm.posterior_episodes import PosteriorEpisodes
from lawm.returns import lambda_returns
from lawm.world_model import WorldModel

BATCH, LEARNING_RATE = 512, 1e-3
# times that the lambda-returns are taken anew; with 0.99 and 0.95 each leaves 0.83 of a constant
# error of the value, all together half a hundredth
TARGETS = 30
GREATEST_WEIGHT = 10.0
GRADIENT_CLIP = 10.0


def train_prior(
    model: WorldModel,
    episodes: Sequence[PosteriorEpisodes],
    temperature: float,
    gamma: float,
    lambda_: float,
    updates: int,
) -> None:
    """Train the prior of u with weights of advantages; all else of the model stays.

    Draws from torch's generators.

    Args:
        model: A trained world model.
        episodes: Of the data, see :func:`lawm.posterior_episodes.posterior_episodes`.
        temperature: In deviations of the advantage over the data; the lower, the choosier.
        gamma: Discount per step.
        lambda_: Of the lambda-returns.
        updates: Of the prior; the value, which is new, has twice as many before.
    """
    with torch.enable_grad():
        advantage = advantages(model, episodes, gamma, lambda_, 2 * updates)
        weight = advantage_weights(advantage, temperature)
        prior = model.latent_action.prior_network.requires_grad_(True)
        _fit_prior(model, episodes, weight, prior, updates)
        prior.requires_grad_(False)


def advantage_weights(advantage: Tensor, temperature: float) -> Tensor:
    """``w`` of this module's head, ``(N,)``.

    Centred: what all advantages have in common, an error of the value, must not decide how many of
    them reach the bound.
    """
    centred = advantage - advantage.mean()
    spread = advantage.std(correction=0).clamp_min(1e-6)
    weight = (centred / (temperature * spread)).exp().clamp_max(GREATEST_WEIGHT)
    return weight / weight.mean()


def advantages(
    model: WorldModel,
    episodes: Sequence[PosteriorEpisodes],
    gamma: float,
    lambda_: float,
    updates: int,
) -> Tensor:
    """By how much each transition did better than its state promised, in units of return.

    The value is that of the behaviour, TD(lambda) with targets that are taken anew now and then. An
    episode that ended without being over, at a limit of time, goes on with the value of its last
    state.

    Returns:
        ``(N,)``, one a real transition, in the order of ``features[:-1][happened]`` of each batch.
    """
    before = _of_transitions(episodes, [seen.features[:-1] for seen in episodes])
    value = _Value(before, model.config.hidden)
    optimizer = FusedAdamW(value.parameters(), lr=LEARNING_RATE, weight_decay=0.1)
    scale = model.reward_unit / (1.0 - gamma)
    with torch.no_grad():
        rewards = [model.reward(seen.features[1:]) for seen in episodes]

    def lambda_returns_now() -> Tensor:
        return _lambda_returns(rewards, value.eval(), scale, episodes, gamma, lambda_)

    returns = torch.zeros(len(before), device=before.device)
    for update in range(updates):
        if update % -(-updates // TARGETS) == 0:
            returns = lambda_returns_now()
            value.train()
        rows = torch.randint(len(before), (BATCH,), device=before.device)
        loss = (value(before[rows]) - returns[rows] / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        promised: Tensor = value.eval()(before) * scale
        return lambda_returns_now() - promised


class _Value(nn.Module):
    """v(s), of a reward's size: of standardised features, with dropout."""

    mean: Tensor
    spread: Tensor

    def __init__(self, features: Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("spread", features.std(dim=0).clamp_min(1e-3))
        self.network = MLP(features.shape[-1], hidden, 1, dropout=0.1)
        self.to(features.device)

    def forward(self, features: Tensor) -> Tensor:
        """``(..., D + Z) -> (...)``."""
        out: Tensor = self.network((features - self.mean) / self.spread).squeeze(-1)
        return out


@torch.no_grad()
def _lambda_returns(
    rewards: Sequence[Tensor],
    value: _Value,
    scale: float,
    episodes: Sequence[PosteriorEpisodes],
    gamma: float,
    lambda_: float,
) -> Tensor:
    parts = []
    for reward, seen in zip(rewards, episodes, strict=True):
        after = seen.features[1:]
        steps = torch.arange(len(after), device=after.device)[:, None]
        is_last = steps == seen.length - 1
        discount = gamma * (1.0 - (is_last & seen.terminated).float())
        goes_on = lambda_ * (1.0 - is_last.float())  # nothing behind it is a part of its return
        parts.append(lambda_returns(reward, discount, value(after) * scale, goes_on))
    return _of_transitions(episodes, parts)


def _fit_prior(
    model: WorldModel,
    episodes: Sequence[PosteriorEpisodes],
    weight: Tensor,
    prior: nn.Module,
    updates: int,
) -> None:
    latent_action = model.latent_action
    features = _of_transitions(episodes, [seen.features[:-1] for seen in episodes])
    posterior = _of_transitions(episodes, [seen.posterior for seen in episodes])
    optimizer = FusedAdamW(prior.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda update: min(1.0, 2.0 * (1.0 - update / updates))
    )
    for _ in range(updates):
        rows = torch.randint(len(features), (BATCH,), device=features.device)
        kl = latent_action.latent.total_kl(posterior[rows], latent_action.prior(features[rows]))
        loss: Tensor = (kl * weight[rows]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradient_norm(prior.parameters(), GRADIENT_CLIP)
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()


def _of_transitions(episodes: Sequence[PosteriorEpisodes], values: Sequence[Tensor]) -> Tensor:
    """``(T, N, ...)`` of each batch to ``(transitions, ...)`` of all."""
    return torch.cat([x[seen.happened] for seen, x in zip(episodes, values, strict=True)])


__all__ = ["advantage_weights", "advantages", "train_prior"]
