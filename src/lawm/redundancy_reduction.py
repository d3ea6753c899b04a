"""Learning from images without reconstructing them.

The state must tell the image's embedding, each dimension of it something of its own: with C the
correlation, over the batch, of a linear projection of s_t with the embedding e_t,

    sum over i of (1 - C_ii)^2  +  lambda * sum over i != j of C_ij^2

(Zbontar et al., "Barlow Twins", arXiv 2103.03230, Eq. 1 and 2). That the one side is the state of
the world model and the other the embedding, without a gradient into the latter, is R2-Dreamer's
(arXiv 2603.18202); so are the weights, here per dimension so that they hold for any size of e.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm.image_observations import ImageDecoder

SCALE = 0.05 * 1024  # R2-Dreamer's weight 0.05 of a sum over 1,024 dimensions
REDUNDANCY = 5e-4 * 1024  # its lambda, of a sum over as many pairs for each dimension


class RedundancyReduction(nn.Module):
    """Takes the place of an image's decoder.

    It predicts no image but the standardised embedding. The loss is one number for a batch of each
    process, given to every row and step of it.

    Args:
        features: Size of s.
        embed: Size of e.
        probe: Decoder that is trained on the side, without a gradient into the world model, so
            that a person sees what the states know; None shows nothing.
    """

    def __init__(self, features: int, embed: int, probe: ImageDecoder | None) -> None:
        super().__init__()
        self.projection = nn.Linear(features, embed, bias=False)
        self.standardise_projection = nn.BatchNorm1d(embed, affine=False)
        self.standardise_embed = nn.BatchNorm1d(embed, affine=False)
        self.probe = probe

    def forward(self, features: Tensor) -> Tensor:
        """Predicted standardised embedding: ``(..., features) -> (..., embed)``."""
        return _over_last(self.standardise_projection, self.projection(features))

    def target(self, obs: Tensor, embed: Tensor) -> Tensor:
        """What :meth:`forward` predicts: the standardised embedding."""
        del obs
        return _over_last(self.standardise_embed, embed.detach())

    def loss(self, features: Tensor, obs: Tensor, embed: Tensor) -> Tensor:
        """The module's loss, the same number everywhere, ``(..., )``."""
        with torch.autocast(features.device.type, enabled=False):
            value = correlation_loss(
                self.forward(features.float()).flatten(0, -2),
                self.target(obs, embed.float()).flatten(0, -2),
            )
        if self.probe is not None:
            probe_loss = self.probe.loss(features.detach(), obs, embed).mean()
            value = value + (probe_loss - probe_loss.detach())  # its gradient and not its value
        return value.expand(features.shape[:-1])

    def spread(self, target: Tensor) -> Tensor:
        """One: the target is standardised."""
        return target.new_ones(())

    def picture(self, features: Tensor) -> Tensor | None:
        """The probe's image, ``(..., H, W, C)``; None without a probe."""
        return None if self.probe is None else self.probe(features)


def correlation_loss(one: Tensor, other: Tensor) -> Tensor:
    """Distance of a correlation matrix from the unit matrix.

    Args:
        one: (N, E), standardised over N.
        other: Likewise.

    Returns:
        ``SCALE * (mean of (1 - C_ii)^2 + REDUNDANCY * mean of C_ij^2 for i != j)``, a scalar.
    """
    num, size = one.shape
    correlation = one.t() @ other / num
    diagonal = correlation.diagonal()
    apart = correlation.square().sum() - diagonal.square().sum()
    redundancy = apart / max(size * (size - 1), 1)
    return SCALE * ((1.0 - diagonal).square().mean() + REDUNDANCY * redundancy)


def _over_last(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Each of the last dimension standardised over all others."""
    out: Tensor = norm(x.reshape(-1, x.shape[-1]))
    return out.view(x.shape)


__all__ = ["RedundancyReduction", "correlation_loss"]
