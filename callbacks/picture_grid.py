"""Grids of pictures with words beside them, still and moving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 3  # pixels between the cells
LEAST_CELL = 96  # pixels; smaller pictures are enlarged by a whole factor
TITLE_HEIGHT = 18
FONT_SIZE = 12
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


def draw_grid(cells: NDArray[np.uint8], names: Sequence[str], title: str) -> NDArray[np.uint8]:
    """One picture of a grid.

    Args:
        cells: (rows, columns, H, W, 3).
        names: Written to the left of the rows.
        title: Written above.

    Returns:
        (height, width, 3); the same size for the same numbers and names.
    """
    rows, columns, height, width = cells.shape[:4]
    assert len(names) == rows, (len(names), rows)
    factor = max(1, -(-LEAST_CELL // max(height, width)))
    large = cells.repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(FONT_SIZE)
    margin = int(max(font.getlength(name) for name in names)) + 2 * GAP
    size = (margin + columns * (width + GAP), TITLE_HEIGHT + rows * (height + GAP))
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, GAP), title, fill=INK, font=font)
    for row, name in enumerate(names):
        top = TITLE_HEIGHT + row * (height + GAP)
        draw.text((GAP, top + height // 2 - FONT_SIZE // 2), name, fill=INK, font=font)
        for column in range(columns):
            picture.paste(
                Image.fromarray(large[row, column]), (margin + column * (width + GAP), top)
            )
    return np.asarray(picture)


def colours(images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Images (..., H, W, C) in [0, 255] as (..., H, W, 3): grey for any other number of channels.

    Of more than three channels the first three are shown.
    """
    rounded = np.clip(np.rint(images.astype(np.float32)), 0, 255).astype(np.uint8)
    channels = rounded.shape[-1]
    return rounded[..., :3] if channels >= 3 else rounded[..., :1].repeat(3, axis=-1)


__all__ = ["colours", "draw_grid"]
