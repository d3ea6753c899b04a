"""Random shifts of images: the augmentation of DrQ (Kostrikov et al., arXiv 2004.13649).

The images are padded by repeating their border and cropped to their size at a random place. All
images of a window are shifted alike, or the shift would look like motion, and an inverse posterior
that reads two frames would have to see through it. Only what the encoder reads is shifted, as in
DrQ, where the value must not depend on the shift; the decoder's target is not. A shifted target
would cost nats for saying where the camera happened to be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm.errors import LawmError


class RandomShift(nn.Module):
    """Shifts the images of a batch of windows while training; of everything else nothing is drawn.

    Args:
        keys: The observation keys that are images.
        pad: Most pixels of a shift, in each direction; 0 shifts nothing.

    Raises:
        LawmError: ``pad`` is below 0.
    """

    def __init__(self, keys: list[str], pad: int) -> None:
        super().__init__()
        if pad < 0:
            raise LawmError(
                f"world_model.model.image_shift is {pad}; expected a number of pixels from 0."
            )
        self.keys, self.pad = keys, pad

    def forward(self, obs: dict[str, Tensor]) -> dict[str, Tensor]:
        """``{key: (T + 1, B, *shape)}``, time first."""
        if not self.training or self.pad == 0 or not self.keys:
            return obs
        return obs | {key: random_shift(obs[key], self.pad) for key in self.keys}


def random_shift(images: Tensor, pad: int) -> Tensor:
    """Shift each row by its own number of pixels, drawn from torch's generator of the device.

    Args:
        images: ``(T + 1, B, H, W, C)``.
        pad: Shifts are whole numbers in [-pad, pad], down and to the right.
    """
    rows, height, width = images.shape[1:4]
    down, right = torch.randint(-pad, pad + 1, (2, rows), device=images.device).unbind()
    windows = (
        _continued(_continued(images, 2, pad), 3, pad).unfold(2, height, 1).unfold(3, width, 1)
    )
    row = torch.arange(rows, device=images.device)
    # whole crops are indexed, each a view, and not pixels: a quarter of the time on a CPU
    return windows.permute(0, 1, 2, 3, 5, 6, 4)[:, row, pad - down, pad - right]


def _continued(images: Tensor, dim: int, pad: int) -> Tensor:
    """With ``pad`` more pixels at either end of a dimension, those of the border repeated."""
    size = list(images.shape)
    size[dim] = pad
    first, last = images.narrow(dim, 0, 1), images.narrow(dim, images.shape[dim] - 1, 1)
    return torch.cat([first.expand(size), images, last.expand(size)], dim=dim)


__all__ = ["RandomShift", "random_shift"]
