"""Frames to a video file."""

from __future__ import annotations

import importlib.util
import io
import math
from pathlib import Path

import numpy as np

from lawm.errors import LawmError

_MAX_FPS = 50.0  # browsers slow down a GIF that asks for more; more helps no eye


def write_video(frames: np.ndarray, path: Path, fps: float) -> None:
    """Write frames as ``.mp4`` or ``.gif``, in real time; folders are made, a file is replaced.

    Args:
        frames: (F, H, W, 3) uint8.
        path: Its ending chooses the format. mp4 needs the extra ``video``.
        fps: Frames per second at which the frames were taken. Above 50, frames are left out.

    Raises:
        LawmError: Another ending, or mp4 without the extra.
    """
    assert frames.ndim == 4 and frames.shape[-1] == 3, frames.shape
    assert frames.dtype == np.uint8, frames.dtype
    check_video_path(path)
    stride = math.ceil(fps / _MAX_FPS)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        _write_mp4(frames[::stride], path, fps / stride)
    else:
        _write_gif(frames[::stride], path, fps / stride)


def check_video_path(path: Path) -> None:
    """Fail before the episodes are run rather than after.

    Raises:
        LawmError: :func:`write_video` cannot write such a file.
    """
    if path.suffix not in (".mp4", ".gif"):
        raise LawmError(
            f"The video file {path} ends in {path.suffix!r}, expected '.mp4' or '.gif'."
        )
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise LawmError(
            f"Writing {path} needs the extra 'video': pip install -e '.[video]'. "
            "Or give a name that ends in '.gif', which needs nothing."
        )


def _write_mp4(frames: np.ndarray, path: Path, fps: float) -> None:
    import imageio.v2 as imageio

    # macro_block_size=2: the codec needs even sizes; the default of 16 would rescale the picture.
    imageio.mimwrite(path, list(frames), fps=fps, macro_block_size=2)


def _write_gif(frames: np.ndarray, path: Path, fps: float) -> None:
    path.write_bytes(gif_bytes(frames, fps))


def gif_bytes(frames: np.ndarray, fps: float) -> bytes:
    """A moving picture that repeats, as the content of a ``.gif``.

    Args:
        frames: (F, H, W, 3) uint8.
        fps: Frames per second, at most 50 for browsers.
    """
    from PIL import Image

    # One palette for all frames, from a few of them: five times as fast and half as large as a
    # palette a frame, and nothing flickers.
    sample = np.concatenate(frames[:: math.ceil(len(frames) / 8)])
    palette = Image.fromarray(sample).quantize(256)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    content = io.BytesIO()
    pictures[0].save(
        content,
        format="gif",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / fps),  # milliseconds a frame; the format keeps hundredths of seconds
        loop=0,
    )
    return content.getvalue()


__all__ = ["check_video_path", "gif_bytes", "write_video"]
