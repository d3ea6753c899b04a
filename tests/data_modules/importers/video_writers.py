"""Real videos, written by FFmpeg's encoders through PyAV, whose frames tell their number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 8  # of the number that is drawn into a frame


def numbered_frames(num: int, size: tuple[int, int] = (64, 64), first: int = 0) -> NDArray[Any]:
    """(num, H, W, 3): bars that spell the frame's number in black and white, over a colour.

    The number survives a lossy codec and any scaling; the colour below tells of colour faults.
    """
    height, width = size
    frames = np.empty((num, height, width, 3), np.uint8)
    frames[:] = (200, 60, 20)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for t in range(num):
        for bit in range(BITS):
            on = (first + t) >> bit & 1
            frames[t, : height // 8, edges[bit] : edges[bit + 1]] = 255 * on
    return frames


def numbers_in(pictures: NDArray[Any]) -> list[int]:
    """What :func:`numbered_frames` drew into (R, H, W, 3) pictures of any size."""
    _, height, width, _ = pictures.shape
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = pictures[:, height // 16, centres].mean(-1) > 127
    return [int(sum(1 << i for i in range(BITS) if row[i])) for row in bits]


def write_video(
    path: Path,
    frames: NDArray[Any],
    *,
    fps: float = 20,
    codec: str = "libx264",
    pixel_format: str = "yuv444p",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: bool = False,
) -> Path:
    """Encode (R, H, W, 3) frames, or (R, H, W, 4) with alpha.

    Args:
        path: Its ending chooses the container.
        frames: uint8.
        fps: Frames a second.
        codec: An encoder of FFmpeg's.
        pixel_format: Of the stream.
        times: Seconds at which each frame is shown; default at ``fps``.
        options: Of the encoder.
        container_options: Of the container.
        sound: Add a stream of audio.
    """
    import av

    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.codec_context.thread_count = 1
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=8000) if sound else None
        for index, values in enumerate(frames):
            kind = "rgba" if values.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=kind)
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            silence.rate = 8000
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
    return path


__all__ = ["numbered_frames", "numbers_in", "write_video"]
