"""Observations of kind ``image``: uint8 ``(H, W, C)``.

Strided convolutions down to a grid of about 4 x 4 and transposed ones back, with a layer norm over
the channels and SiLU, as in DreamerV3 (Hafner et al., arXiv 2301.04104, appendix B). Kernels of 4
at stride 2 overlap evenly, so that transposed convolutions leave no checkerboard. Everything is
channels last: the layout of the data, in which the norm reads contiguous memory. Sides that cannot
be halved often enough (84 pixels, say) are continued at their edges, which the decoder cuts off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.errors import LawmError
from lawm.fused.kernels import kernels_usable
from lawm.fused.norm_silu import norm_silu
from lawm.networks import NORM_EPS
from lawm.spec import ObservationSpec

LEAST_SIDE = 8  # pixels
SMALLEST_GRID = 4  # cells a side that the strides leave at least
MOST_CHANNELS = 16  # of an image; more means that the channels stand first
MOST_WIDENING = 8  # the last layers have that many times the channels of the first
FRAMES_AT_ONCE = 512  # without gradients, so that floats of a whole data set never exist together


class ImageEncoder(nn.Module):
    """Strided convolutions and a linear layer.

    Args:
        key: Of the observation, for messages.
        spec: Its shape.
        depth: Channels of the first layer; each further one has twice as many, up to eight times.
        embed: Size of the embedding.

    Raises:
        LawmError: The shape is none of an image.
    """

    def __init__(self, key: str, spec: ObservationSpec, depth: int, embed: int) -> None:
        super().__init__()
        stages, grid = pyramid(key, spec.shape)
        channels = [spec.shape[-1], *_widths(depth, stages)]
        self.shape = spec.shape
        self.margins = margins(spec.shape, stages, grid)
        self.layers = nn.Sequential()
        for before, after in pairwise(channels):
            self.layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            self.layers.append(NormedSiLU(after))
        self.output = nn.Linear(grid[0] * grid[1] * channels[-1], embed)

    def forward(self, obs: Tensor) -> Tensor:
        """``(..., H, W, C)`` uint8 to ``(..., embed)``."""
        assert obs.dtype == torch.uint8, obs.dtype
        frames = obs.reshape(-1, *self.shape)
        return _in_parts(self._embed, frames).view(*obs.shape[:-3], -1)

    def _embed(self, frames: Tensor) -> Tensor:
        x = centred(frames, self.output.weight.dtype).permute(0, 3, 1, 2)
        if any(self.margins):
            x = F.pad(x, self.margins, mode="replicate")
        grid = self.layers(x).permute(0, 2, 3, 1)
        out: Tensor = self.output(grid.flatten(1))
        return out


class ImageDecoder(nn.Module):
    """``p(o | s)``: a Gaussian of one fixed deviation for all pixels.

    With a deviation of ``sqrt(1/2)`` in units of the full brightness the loss is DreamerV3's, the
    squared error summed over the pixels.

    Args:
        key: Of the observation, for messages.
        spec: Its shape.
        features: Size of s.
        depth: As of the encoder.
        std: Standard deviation of a pixel, where 1 is from black to white.
        decoded_share: Share of the steps that :meth:`loss` decodes in training.
    """

    def __init__(
        self,
        key: str,
        spec: ObservationSpec,
        features: int,
        depth: int,
        std: float,
        decoded_share: float = 1.0,
    ) -> None:
        super().__init__()
        stages, self.grid = pyramid(key, spec.shape)
        channels = [*_widths(depth, stages)[::-1], spec.shape[-1]]
        self.shape, self.std, self.decoded_share = spec.shape, std, decoded_share
        self.left, _, self.top, _ = margins(spec.shape, stages, self.grid)
        self.input = nn.Linear(features, self.grid[0] * self.grid[1] * channels[0])
        self.layers = nn.Sequential()
        for before, after in pairwise(channels):
            self.layers.append(NormedSiLU(before))
            self.layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Mean image, ``(..., features) -> (..., H, W, C)`` float32 in [0, 255]."""
        flat = features.reshape(-1, features.shape[-1])
        images = _in_parts(lambda x: self._brightness(self._centred_mean(x)), flat)
        return images.view(*features.shape[:-1], *self.shape)

    def target(self, obs: Tensor, embed: Tensor) -> Tensor:
        """What :meth:`forward` predicts: the image itself."""
        del embed
        return obs

    def loss(self, features: Tensor, obs: Tensor, embed: Tensor) -> Tensor:
        """Negative log-likelihood in nats but for a constant, summed over the pixels, ``(T, ...)``.

        ``sum of (o - mean)^2 / (2 std^2)``. In training it is that of ``decoded_share`` of the
        steps, drawn anew for each batch and alike for all of its rows, times the inverse of the
        share; of the other steps it is zero. The mean over the steps is an unbiased estimate:
        frames that follow each other teach a decoder much the same.
        """
        del embed
        steps = features.shape[0]
        decoded = max(1, round(self.decoded_share * steps))
        if not self.training or decoded == steps:
            return self._losses(features, obs)
        at = torch.randperm(steps, device=features.device)[:decoded]
        losses = self._losses(features[at], obs[at]) * (steps / decoded)
        return losses.new_zeros(features.shape[:-1]).index_copy(0, at, losses)

    def spread(self, target: Tensor) -> Tensor:
        """Root of the mean variance of a pixel over the leading dimensions, a scalar."""
        return pixel_spread(target, len(self.shape))

    def picture(self, features: Tensor) -> Tensor:
        """The mean image."""
        return self.forward(features)

    def _centred_mean(self, features: Tensor) -> Tensor:
        """``(N, features) -> (N, H, W, C)`` around zero, where 1 is from black to white."""
        grid = self.input(features).view(len(features), *self.grid, -1).permute(0, 3, 1, 2)
        out: Tensor = self.layers(grid).permute(0, 2, 3, 1).float()
        height, width, _ = self.shape
        return out[:, self.top : self.top + height, self.left : self.left + width]

    def _losses(self, features: Tensor, obs: Tensor) -> Tensor:
        flat = features.reshape(-1, features.shape[-1])
        frames = obs.reshape(-1, *self.shape)
        return _in_parts(self._loss, flat, frames).view(features.shape[:-1])

    @staticmethod
    def _brightness(mean: Tensor) -> Tensor:
        return (mean + 0.5).clamp(0.0, 1.0) * 255.0

    def _loss(self, features: Tensor, frames: Tensor) -> Tensor:
        mean = self._centred_mean(features)
        error = F.mse_loss(mean, centred(frames, mean.dtype), reduction="none")
        return error.flatten(1).sum(dim=1) / (2.0 * self.std**2)


class NormedSiLU(nn.LayerNorm):
    """Layer norm over the channels of ``(N, C, H, W)``, then SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, channels last in memory."""
        pixels = x.permute(0, 2, 3, 1)
        fused = kernels_usable(self.weight) and x.dtype in (torch.float32, torch.bfloat16)
        out = norm_silu(pixels, self) if fused else F.silu(super().forward(pixels))
        return out.permute(0, 3, 1, 2)


def centred(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 brightness as numbers in [-0.5, 0.5]."""
    return frames.to(dtype).mul_(1.0 / 255.0).sub_(0.5)


def pixel_spread(images: Tensor, num_dims: int) -> Tensor:
    """Root of the variance of a pixel over all leading dimensions, mean over the pixels.

    Args:
        images: ``(..., H, W, C)`` uint8.
        num_dims: Dimensions of one image.

    Returns:
        A scalar in units of brightness, never below 1.
    """
    frames = images.flatten(0, images.ndim - num_dims - 1)
    total = torch.zeros(frames.shape[1:], dtype=torch.float64, device=images.device)
    squares = torch.zeros_like(total)
    for part in torch.split(frames, FRAMES_AT_ONCE):
        values = part.double()
        total += values.sum(dim=0)
        squares += values.square_().sum(dim=0)
    mean = total / len(frames)
    variance = (squares / len(frames) - mean.square()).mean()
    return variance.clamp_min(1.0).sqrt().float()


def pyramid(key: str, shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """How often the sides of an image are halved, and the grid that is left.

    Raises:
        LawmError: The shape is none of an image, or of a very small one.
    """
    named = f"Observation '{key}' has shape {shape}"
    if len(shape) == 3 and shape[0] <= MOST_CHANNELS < shape[2]:
        raise LawmError(
            f"{named}: the channels seem to stand first. An image is (height, width, channels); "
            "import the data again with the channels last."
        )
    if len(shape) != 3 or min(shape) < 1 or shape[2] > MOST_CHANNELS:
        raise LawmError(
            f"{named}; expected an image (height, width, channels) with 1 to {MOST_CHANNELS} "
            "channels. Leave the key out with data.observation_keys, or import the data again."
        )
    shorter = min(shape[:2])
    stages = (shorter // SMALLEST_GRID).bit_length() - 1
    if shorter < LEAST_SIDE:
        raise LawmError(
            f"{named}; expected sides of at least {LEAST_SIDE} pixels. Make larger images, or "
            "leave the key out with data.observation_keys."
        )
    step = 2**stages
    return stages, (math.ceil(shape[0] / step), math.ceil(shape[1] / step))


def margins(
    shape: tuple[int, ...], stages: int, grid: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Pixels that lack at left, right, top and bottom to halve the sides ``stages`` times."""
    height, width = (cells * 2**stages - side for cells, side in zip(grid, shape, strict=False))
    return width // 2, width - width // 2, height // 2, height - height // 2


def _widths(depth: int, stages: int) -> list[int]:
    return [depth * min(2**stage, MOST_WIDENING) for stage in range(stages)]


def _in_parts(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function`` of the rows; without gradients of some rows after the others."""
    if torch.is_grad_enabled() or len(inputs[0]) <= FRAMES_AT_ONCE:
        return function(*inputs)
    parts = zip(*(torch.split(x, FRAMES_AT_ONCE) for x in inputs), strict=True)
    return torch.cat([function(*part) for part in parts])


__all__ = [
    "ImageDecoder",
    "ImageEncoder",
    "NormedSiLU",
    "centred",
    "margins",
    "pixel_spread",
    "pyramid",
]
