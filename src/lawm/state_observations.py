"""Observations of kind ``state``: float32 vectors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.gaussian_nll import gaussian_nll
from lawm.networks import MLP
from lawm.spec import ObservationSpec


class StateEncoder(nn.Module):
    """Standardises a state vector with the data's mean and deviation, then an MLP."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ObservationSpec, hidden: int, embed: int, num_layers: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean))
        self.register_buffer("std", torch.tensor(spec.std))
        self.mlp = MLP(spec.shape[0], hidden, embed, num_layers)

    def forward(self, obs: Tensor) -> Tensor:
        """``(..., D_obs)`` in the data's units to ``(..., embed)``."""
        out: Tensor = self.mlp((obs - self.mean) / self.std)
        return out


class StateDecoder(nn.Module):
    """``p(o | s)``: a Gaussian on standardised states with a learned deviation per dimension."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: ObservationSpec,
        features: int,
        hidden: int,
        num_layers: int,
        min_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean))
        self.register_buffer("std", torch.tensor(spec.std))
        self.mlp = MLP(features, hidden, spec.shape[0], num_layers)
        self.min_std = min_std
        self.raw_std = nn.Parameter(torch.full((spec.shape[0],), math.log(math.expm1(0.5))))

    def forward(self, features: Tensor) -> Tensor:
        """Mean observation in the data's units: ``(..., features) -> (..., D_obs)``."""
        out: Tensor = self.mlp(features) * self.std + self.mean
        return out

    def deviation(self) -> Tensor:
        """Standard deviation of ``p(o | s)`` in units of the data's own, ``(D_obs,)``."""
        return F.softplus(self.raw_std) + self.min_std

    def target(self, obs: Tensor, embed: Tensor) -> Tensor:
        """What :meth:`forward` predicts: the observation itself."""
        del embed
        return obs

    def loss(self, features: Tensor, obs: Tensor, embed: Tensor) -> Tensor:
        """Negative log-likelihood in nats of standardised states, ``(..., )``."""
        del embed
        target = (obs - self.mean) / self.std
        return gaussian_nll(self.mlp(features), target, self.deviation())

    def spread(self, target: Tensor) -> Tensor:
        """Standard deviation of the data, ``(D_obs,)``."""
        return self.std.to(target)

    def picture(self, features: Tensor) -> None:
        """A state is no picture."""
        del features


__all__ = ["StateDecoder", "StateEncoder"]
