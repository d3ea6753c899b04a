"""Where the data say little of what an action does: networks trained on them disagree there.

As in MOReL (Kidambi et al., arXiv 2005.05951, Sec. 3), in the latent space of a world model, as by
Offline DreamerV2 (Lu et al., arXiv 2206.04779, Sec. 4.1); here rollouts are cut where the
disagreement is above that on most of the data, and the return goes on from the critic's value.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.imagination import ImaginedTrajectory
from lawm.returns import until_first_failure
from lawm.support_constraint import SupportConstraint
from lawm.world_model import WorldModel

MEMBERS, HIDDEN = 5, 192
UPDATES, BATCH, LEARNING_RATE = 1_500, 256, 1e-3
LEAST_SPREAD = 1e-3  # a dimension that hardly moves is not blown up by standardisation


@dataclass(frozen=True)
class Transitions:
    """What happened in the data, in the states of a world model."""

    features: Tensor  # (N, D + Z), s_t
    action: Tensor  # (N, A), known or inferred
    following: Tensor  # (N, D + Z), s_{t+1}


class DynamicsEnsemble(nn.Module):
    """Networks that predict the change of s from s and the action, all in one product each layer.

    Args:
        features: D + Z.
        actions: A.
    """

    mean: Tensor
    spread: Tensor
    change_mean: Tensor
    change_spread: Tensor
    limit: Tensor

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        sizes = (features + actions, HIDDEN, HIDDEN, features)
        self.weights = nn.ParameterList(
            torch.randn(MEMBERS, size, out) / size**0.5 for size, out in itertools.pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(MEMBERS, 1, out) for out in sizes[1:])
        for name in ("mean", "spread", "change_mean", "change_spread"):
            self.register_buffer(name, torch.zeros(features))
        self.register_buffer("limit", torch.zeros(()))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Predicted changes, standardised: ``(K or 1, N, ·)`` each to ``(K, N, D + Z)``."""
        x = torch.cat([(features - self.mean) / self.spread, action], dim=-1)
        x = x.expand(MEMBERS, -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.silu(x) if layer else x, weight)
        return x

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        """Deviation over the members of a predicted change, in units of changes in the data.

        Args:
            features: ``(..., D + Z)``.
            action: ``(..., A)``.

        Returns:
            ``(...)``, the mean over the dimensions of s.
        """
        changes = self(features.flatten(0, -2)[None], action.flatten(0, -2)[None])
        spread: Tensor = changes.std(dim=0).mean(dim=-1).view(features.shape[:-1])
        return spread

    def is_known(self, features: Tensor, action: Tensor) -> Tensor:
        """Whether the members agree as well as on most of the data; as :meth:`disagreement`."""
        return self.disagreement(features, action) <= self.limit

    def fit(self, data: Transitions, quantile: float) -> None:
        """Train the members, each on a sample of the data of its own, and set the limit.

        Draws from torch's generators.

        Args:
            data: On the device of this module.
            quantile: Share of the data that is to count as known.
        """
        change = data.following - data.features
        for name, values in (("", data.features), ("change_", change)):
            getattr(self, f"{name}mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}spread").copy_(values.std(dim=0).clamp_min(LEAST_SPREAD))
        target, num = (change - self.change_mean) / self.change_spread, len(change)
        own = torch.randint(num, (MEMBERS, num), device=change.device)  # a bootstrap sample each
        optimizer = torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda update: min(1.0, 2.0 * (1.0 - update / UPDATES))
        )
        with torch.enable_grad():
            for _ in range(UPDATES):
                rows = own.gather(1, torch.randint(num, (MEMBERS, BATCH), device=change.device))
                predicted = self(data.features[rows], data.action[rows])
                loss = (predicted - target[rows]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self.requires_grad_(False)
        seen = torch.randperm(num, device=change.device)[:20_000]
        disagreement = self.disagreement(data.features[seen], data.action[seen])
        self.limit.copy_(torch.quantile(disagreement, quantile))


@torch.no_grad()
def known_steps(
    ensemble: DynamicsEnsemble | None,
    model: WorldModel,
    constraint: SupportConstraint,
    imagined: ImaginedTrajectory,
) -> Tensor:
    """1 as long as the ensemble knows what a rollout does, then 0: ``(H, N)``; 1 without one."""
    if ensemble is None:
        return torch.ones_like(imagined.reward)
    features = imagined.features[:-1]
    u = imagined.latent_action
    if u is None:
        u = constraint.apply(model.latent_action.prior(features), imagined.choice, stochastic=True)
    action = model.latent_action.decode(features, u)
    return until_first_failure(ensemble.is_known(features, action))


__all__ = ["DynamicsEnsemble", "Transitions", "known_steps"]
