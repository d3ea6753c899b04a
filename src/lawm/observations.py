"""Observations in and out: a dict of named keys to one embedding, and a state back to the keys.

One encoder and one decoder per key, chosen by the key's kind; a new kind of observation is a new
pair of classes here and nothing elsewhere.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.errors import LawmError
from lawm.networks import MLP
from lawm.spec import DataSpec, ObservationSpec


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
        min_std: float = 0.03,
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

    def nll(self, features: Tensor, obs: Tensor) -> Tensor:
        """Negative log-likelihood in nats of standardised states, ``(..., )``."""
        std = F.softplus(self.raw_std) + self.min_std
        error: Tensor = (self.mlp(features) - (obs - self.mean) / self.std) / std
        constant = std.log().sum() + 0.5 * error.shape[-1] * math.log(2.0 * math.pi)
        return 0.5 * error.square().sum(dim=-1) + constant


class ObservationEncoder(nn.Module):
    """``e = enc(o)``: the keys' embeddings side by side.

    Raises:
        LawmError: A key is of a kind that no encoder is written for.
    """

    def __init__(self, spec: DataSpec, hidden: int, embed: int, num_layers: int) -> None:
        super().__init__()
        for key, item in spec.observations.items():
            _require_state(key, item)
        self.keys = tuple(spec.observations)
        self.encoders = nn.ModuleList(
            StateEncoder(item, hidden, embed, num_layers) for item in spec.observations.values()
        )
        self.size = embed * len(self.keys)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """``{key: (..., *shape)} -> (..., size)``."""
        parts = [enc(obs[key]) for key, enc in zip(self.keys, self.encoders, strict=True)]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


class ObservationDecoder(nn.Module):
    """``p(o | s)``: independent over the keys."""

    def __init__(self, spec: DataSpec, features: int, hidden: int, num_layers: int) -> None:
        super().__init__()
        for key, item in spec.observations.items():
            _require_state(key, item)
        self.keys = tuple(spec.observations)
        self.decoders = nn.ModuleList(
            StateDecoder(item, features, hidden, num_layers) for item in spec.observations.values()
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """The mean of each key in its own units."""
        return {key: dec(features) for key, dec in zip(self.keys, self.decoders, strict=True)}

    def nll(self, features: Tensor, obs: dict[str, Tensor]) -> Tensor:
        """Negative log-likelihood summed over the keys, ``(..., )``."""
        total = features.new_zeros(features.shape[:-1])
        for key, decoder in zip(self.keys, self.decoders, strict=True):
            assert isinstance(decoder, StateDecoder)
            total = total + decoder.nll(features, obs[key])
        return total


def _require_state(key: str, spec: ObservationSpec) -> None:
    if spec.kind != "state":
        raise LawmError(
            f"Observation key '{key}' is of kind '{spec.kind}' with shape {spec.shape}; the world "
            "model has an encoder for kind 'state' alone (float32 vectors). Leave the key out of "
            "the shard, or give states."
        )


__all__ = ["ObservationDecoder", "ObservationEncoder", "StateDecoder", "StateEncoder"]
