"""From a decoded frame to the picture that is stored: RGB, upright, of the size that was asked for.

PyAV is needed to call, not to import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.video_options import Aspect
from lawm.errors import LawmError

MAX_RATIO = 20.0  # of the sides of a frame


@dataclass(frozen=True)
class Placement:
    """How a frame is scaled, before it is turned upright."""

    scaled: tuple[int, int]  # (H, W) that the whole frame is scaled to
    size: tuple[int, int]  # (H, W) of what is kept of it, or of the black picture it is put into


def placement(
    frame: tuple[int, int], pixel_aspect: float, size: tuple[int, int], aspect: Aspect
) -> Placement:
    """Scale a frame so that it fills or fits the size, with its proportions as they are shown.

    Args:
        frame: (H, W) in pixels.
        pixel_aspect: Width of a pixel over its height.
        size: (H, W) that is wanted.
        aspect: Fill and lose what is over, or fit and leave bars.

    Raises:
        LawmError: The frame is a strip.
    """
    height, width = float(frame[0]), frame[1] * pixel_aspect
    if not 1.0 / MAX_RATIO <= width / height <= MAX_RATIO:
        raise LawmError(
            f"frames of {frame[1]} x {frame[0]} with pixels of {pixel_aspect:g} : 1 are strips; "
            f"expected sides of at most {MAX_RATIO:g} : 1"
        )
    factors = size[0] / height, size[1] / width
    factor = max(factors) if aspect == "crop" else min(factors)
    scaled = max(1, round(height * factor)), max(1, round(width * factor))
    return Placement(scaled, size)


class PictureMaker:
    """Makes pictures of the frames of one video.

    Downscaling takes the mean over the area that a pixel covers. Transparent parts are black.

    Args:
        pixel_aspect: Width of a pixel of the video over its height.
        size: (H, W) of the pictures.
        aspect: See :func:`placement`.
    """

    def __init__(self, pixel_aspect: float, size: tuple[int, int], aspect: Aspect) -> None:
        from av.video.reformatter import VideoReformatter

        self._pixel_aspect, self._size, self._aspect = pixel_aspect, size, aspect
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def __call__(self, frame: Any) -> NDArray[np.uint8]:  # noqa: ANN401
        """(H, W, 3) of PyAV's frame, of any pixel format.

        Raises:
            LawmError: The frame is a strip.
        """
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        size = self._size if turns % 2 == 0 else self._size[::-1]
        place = placement((frame.height, frame.width), self._pixel_aspect, size, self._aspect)
        if any(part.is_alpha for part in frame.format.components) or frame.format.has_palette:
            frame = _on_black(frame)
        height, width = place.scaled
        shrinks = height <= frame.height and width <= frame.width
        kind = "AREA" if shrinks else "BILINEAR"
        # Into planes of R, G and B: on the way to rgb24, swscale halves the width of the colours
        scaled = self._reformatter.reformat(frame, width, height, "gbrp", interpolation=kind)
        picture: NDArray[Any] = scaled.to_ndarray()
        return np.rot90(_centred(picture, place.size), turns)


def _on_black(frame: Any) -> Any:  # noqa: ANN401
    import av

    rgba = frame.to_ndarray(format="rgba")
    alpha = rgba[..., 3:].astype(np.uint16)
    colour = ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return av.VideoFrame.from_ndarray(colour, format="rgb24")


def _centred(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of a picture that is larger, and bars around one that is smaller."""
    for axis, side in enumerate(size):
        over = picture.shape[axis] - side
        if over > 0:
            start = over // 2
            picture = np.take(picture, range(start, start + side), axis)
        elif over < 0:
            bars = [(0, 0)] * 3
            bars[axis] = (-over // 2, -over - -over // 2)
            picture = np.pad(picture, bars)
    return picture


__all__ = ["PictureMaker", "Placement", "placement"]
