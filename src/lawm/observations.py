"""Observations in and out: a dict of named keys to one embedding, and a state back to the keys.

One encoder and one decoder per key, chosen by the key's kind; a new kind of observation is a new
pair of classes and a line in each of :func:`make_encoder` and :func:`make_decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from lawm.errors import LawmError
from lawm.image_observations import ImageDecoder, ImageEncoder
from lawm.redundancy_reduction import RedundancyReduction
from lawm.spec import DataSpec, ObservationSpec
from lawm.state_observations import StateDecoder, StateEncoder

ObservationLossName = Literal["reconstruction", "redundancy_reduction"]


@dataclass(frozen=True)
class ObservationSizes:
    """Sizes and variants of encoders and decoders; see :class:`~lawm.world_model.WorldModelConfig`.

    Those of images have no effect on states.

    Raises:
        LawmError: A size is out of its range.
    """

    hidden: int
    embed: int
    num_layers: int
    observation_loss: ObservationLossName = "reconstruction"
    image_depth: int = 16
    image_std: float = 0.5**0.5
    image_decoded_share: float = 1.0
    image_probe: bool = False

    def __post_init__(self) -> None:
        if self.image_depth < 1:
            raise LawmError(
                f"world_model.model.image_depth is {self.image_depth}; expected a number of "
                "channels from 1, such as 16."
            )
        if not self.image_std > 0.0:
            raise LawmError(
                f"world_model.model.image_std is {self.image_std}; expected a standard deviation "
                "above 0, such as 0.7, where 1 is from black to white."
            )
        if not 0.0 < self.image_decoded_share <= 1.0:
            raise LawmError(
                f"world_model.model.image_decoded_share is {self.image_decoded_share}; expected a "
                "share of the steps above 0 and up to 1, such as 0.25."
            )


class KeyDecoder(Protocol):
    """What a state says of one observation key."""

    def __call__(self, features: Tensor) -> Tensor:
        """The prediction of :meth:`target`, ``(..., features) -> (..., *)``."""

    def target(self, obs: Tensor, embed: Tensor) -> Tensor:
        """What is predicted, made of the observation and of its embedding."""

    def loss(self, features: Tensor, obs: Tensor, embed: Tensor) -> Tensor:
        """What training minimises, ``(..., )``."""

    def spread(self, target: Tensor) -> Tensor:
        """Standard deviation of the target, of a shape that divides it."""

    def picture(self, features: Tensor) -> Tensor | None:
        """The predicted image, ``(..., H, W, C)`` in [0, 255]; None if none can be shown."""


class ObservationEncoder(nn.Module):
    """``e = enc(o)``: the keys' embeddings side by side.

    Raises:
        LawmError: An image is of a shape that the encoder cannot take.
    """

    def __init__(self, spec: DataSpec, sizes: ObservationSizes) -> None:
        super().__init__()
        self.keys = tuple(spec.observations)
        self.encoders = nn.ModuleList(
            make_encoder(key, item, sizes) for key, item in spec.observations.items()
        )
        self.embed = sizes.embed
        self.size = sizes.embed * len(self.keys)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """``{key: (..., *shape)} -> (..., size)``."""
        parts = list(self.embeds(obs).values())
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def embeds(self, obs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The embedding of each key, ``{key: (..., *shape)} -> {key: (..., embed)}``."""
        return {key: enc(obs[key]) for key, enc in zip(self.keys, self.encoders, strict=True)}

    def split(self, embed: Tensor) -> dict[str, Tensor]:
        """The part of each key, ``(..., size) -> {key: (..., embed)}``."""
        return dict(zip(self.keys, torch.split(embed, self.embed, dim=-1), strict=True))


class ObservationDecoder(nn.Module):
    """``p(o | s)``, or what stands in its place: independent over the keys."""

    def __init__(self, spec: DataSpec, features: int, sizes: ObservationSizes) -> None:
        super().__init__()
        self.keys = tuple(spec.observations)
        self.decoders = nn.ModuleList(
            make_decoder(key, item, features, sizes) for key, item in spec.observations.items()
        )

    def items(self) -> list[tuple[str, KeyDecoder]]:
        """Each key and its decoder."""
        return list(zip(self.keys, self.decoders, strict=True))  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """The prediction of each key's target: of a reconstructed one in its own units."""
        return {key: decoder(features) for key, decoder in self.items()}

    def targets(self, obs: dict[str, Tensor], embeds: dict[str, Tensor]) -> dict[str, Tensor]:
        """What :meth:`forward` predicts; ``embeds`` of :meth:`ObservationEncoder.split`."""
        return {key: decoder.target(obs[key], embeds[key]) for key, decoder in self.items()}

    def loss(self, features: Tensor, obs: dict[str, Tensor], embeds: dict[str, Tensor]) -> Tensor:
        """Negative log-likelihood, or what stands in its place, sum over the keys, ``(..., )``."""
        total = features.new_zeros(features.shape[:-1])
        for key, decoder in self.items():
            total = total + decoder.loss(features, obs[key], embeds[key])
        return total

    def deviations(self) -> list[nn.Parameter]:
        """The learned standard deviations of states, one parameter a key."""
        return [part.raw_std for part in self.decoders if isinstance(part, StateDecoder)]

    def pictures(self, features: Tensor) -> dict[str, Tensor]:
        """Predicted images of the keys that can be shown, ``(..., H, W, C)`` in [0, 255]."""
        shown = {key: decoder.picture(features) for key, decoder in self.items()}
        return {key: picture for key, picture in shown.items() if picture is not None}


def make_encoder(key: str, spec: ObservationSpec, sizes: ObservationSizes) -> nn.Module:
    """The encoder of a key."""
    if spec.kind == "image":
        return ImageEncoder(key, spec, sizes.image_depth, sizes.embed)
    return StateEncoder(spec, sizes.hidden, sizes.embed, sizes.num_layers)


def make_decoder(
    key: str, spec: ObservationSpec, features: int, sizes: ObservationSizes
) -> nn.Module:
    """The decoder of a key, or what stands in its place."""
    if spec.kind == "state":  # a small decoder, and every number of a state counts
        return StateDecoder(spec, features, sizes.hidden, sizes.num_layers)

    def image_decoder() -> ImageDecoder:
        return ImageDecoder(
            key, spec, features, sizes.image_depth, sizes.image_std, sizes.image_decoded_share
        )

    if sizes.observation_loss == "reconstruction":
        return image_decoder()
    probe = image_decoder() if sizes.image_probe else None
    return RedundancyReduction(features, sizes.embed, probe)


__all__ = [
    "KeyDecoder",
    "ObservationDecoder",
    "ObservationEncoder",
    "ObservationLossName",
    "ObservationSizes",
]
