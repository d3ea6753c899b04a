"""Decodes a video with PyAV: facts, pictures and faults, one message after the other.

It runs in a process of its own (:mod:`lawm.data_modules.importers.video_process`), as what decodes
is C and a file from anywhere may crash it, keep it busy for ever or make it take all memory.
Frames are looked at in turn; the pictures of those that are shown are sent and nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lawm.data_modules.importers.video_clock import Clock, CountingClock, GridClock
from lawm.data_modules.importers.video_files import VideoFile
from lawm.data_modules.importers.video_messages import (
    Alive,
    Break,
    Ending,
    Message,
    Picture,
    VideoFacts,
)
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.importers.video_picture import PictureMaker
from lawm.errors import LawmError

MAX_SIDE = 1 << 14  # pixels of a frame
MAX_PIXELS = 1 << 26
MAX_IDLE_PACKETS = 100_000  # in turn without a frame
ALIVE_SECONDS = 1.0
UNFILLED = 0.05  # share of the declared time by which sound may outlast the picture


Send = Callable[[Message], None]


def probe(file: VideoFile, send: Send) -> None:
    """Send the facts of a file.

    Raises:
        LawmError: It cannot be read, or has no video of a sensible size.
    """
    with _opened(file) as (container, stream):
        send(_facts(file, container, stream))


def decode(file: VideoFile, options: VideoOptions, step: float, send: Send) -> None:
    """Send the pictures of a file, where they break off, and at last the ending.

    Args:
        file: What to decode.
        options: How.
        step: Seconds of a step; not used with ``options.every``.
        send: Takes each message.

    Raises:
        LawmError: It cannot be read, or has no video of a sensible size.
    """
    with _opened(file) as (container, stream):
        facts = _facts(file, container, stream)
        steps = _Steps(options, step, float(stream.sample_aspect_ratio or 1.0), send)
        for item in _frames(container, stream, facts, steps.alive):
            if isinstance(item, Break):
                steps.end(item)
            else:
                steps.take(*item)
        steps.end(None)
        send(steps.ending())


class _Steps:
    """Chooses frames by the clock and sends their pictures."""

    def __init__(self, options: VideoOptions, step: float, aspect: float, send: Send) -> None:
        self._options, self._step = options, step
        self._picture = PictureMaker(aspect, options.size, options.aspect)
        self._send, self._last_word = send, time.monotonic()
        self._clock = self._new_clock()
        self._frame: Any = None  # the last one, of which only the next one tells the duration
        self._time = self._interval = 0.0
        self._decoded = self._used = self._steps = 0
        self._shortest, self._longest = float("inf"), 0.0

    def take(self, frame: Any, at: float, duration: float) -> None:  # noqa: ANN401
        shown = self._clock.next(at)
        self._show(shown.steps)
        if shown.gap:
            self._tell(Break(self._time, shown.gap))
        elif self._frame is not None and at > self._time:
            self._shortest = min(self._shortest, at - self._time)
            self._longest = max(self._longest, at - self._time)
        changed = self._frame is not None and _shape(frame) != _shape(self._frame)
        if changed and not shown.gap:
            self._tell(Break(at, f"the frames change to {frame.width} x {frame.height}"))
        self._frame, self._time, self._interval = frame, at, duration
        self._decoded += 1
        self.alive()

    def end(self, why: Break | None) -> None:
        self._show(self._clock.end(self._interval).steps)
        self._clock, self._frame = self._new_clock(), None
        if why is not None:
            self._tell(why)

    def alive(self) -> None:
        if time.monotonic() - self._last_word > ALIVE_SECONDS:
            self._tell(Alive())

    def ending(self) -> Ending:
        shortest = self._shortest if self._longest else 0.0
        return Ending(self._decoded, self._used, self._steps, shortest, self._longest)

    def _show(self, steps: int) -> None:
        if self._frame is None or steps == 0:
            return
        pixels = self._picture(self._frame)
        self._used, self._steps = self._used + 1, self._steps + steps
        self._tell(Picture(self._time, steps, pixels.tobytes()))

    def _tell(self, message: Message) -> None:
        self._last_word = time.monotonic()
        self._send(message)

    def _new_clock(self) -> Clock:
        every = self._options.every
        return CountingClock(every) if every else GridClock(self._step)


def _frames(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    facts: VideoFacts,
    alive: Callable[[], None],
) -> Iterator[tuple[Any, float, float] | Break]:
    """Each frame with its time and duration in seconds; after a fault it goes on at a key frame."""
    import av

    usual = 1.0 / facts.rate if facts.rate else 0.1
    start, at, packets, idle, lost = None, -usual, 0, 0, False
    read = container.demux(stream)
    while True:
        try:
            packet = next(read, None)
        except av.FFmpegError as error:
            yield Break(max(at, 0.0), f"the file cannot be read on ({error.strerror})")
            return
        if packet is None:
            break
        packets, idle = packets + (packet.size > 0), idle + 1
        alive()
        if idle > MAX_IDLE_PACKETS:
            yield Break(max(at, 0.0), f"no frame comes in {MAX_IDLE_PACKETS:,} packets")
            return
        fault: str = ""
        frames: list[Any] = []
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            fault = str(error.strerror)
        if packet.is_corrupt and packet.size > 0:
            fault = fault or "the packet is damaged"
        for frame in frames:
            if frame.is_corrupt:
                fault = fault or "the frame is damaged"
            if (lost and not frame.key_frame) or frame.is_corrupt:
                continue
            lost, idle = False, 0
            seconds = at + usual if frame.pts is None else float(frame.pts * frame.time_base)
            start = seconds if start is None else start
            at = seconds - start
            yield frame, at, float((frame.duration or 0) * (frame.time_base or 0)) or usual
        if fault and not lost:
            told = packet.pts if packet.pts is not None else packet.dts
            where = max(at, 0.0) if told is None else float(told * packet.time_base) - (start or 0)
            yield Break(where, f"a frame cannot be decoded ({fault})")
            lost = True
    if facts.frames and packets < facts.frames:
        yield Break(
            max(at, 0.0), f"the file breaks off: it declares {facts.frames} frames, {packets} came"
        )
    elif not facts.frames and facts.seconds - at > usual + max(usual, UNFILLED * facts.seconds):
        yield Break(max(at, 0.0), f"the file breaks off: it declares {facts.seconds:.3g} s")


@contextmanager
def _opened(file: VideoFile) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream that is no cover picture."""
    import av

    try:
        # The format is given: a file that is really a playlist could name other files
        options = {"protocol_whitelist": "file"}
        with av.open(str(file.path), format=file.container, options=options) as container:
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                raise LawmError(f"{file.path} has no video in it.")
            context = streams[0].codec_context
            if context is None:
                raise LawmError(f"The video of {file.path} is of a codec that FFmpeg lacks.")
            context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            yield container, streams[0]
    except av.FFmpegError as error:
        raise LawmError(
            f"{file.path} cannot be read as {file.container}: {error.strerror}. It may be cut "
            "short or damaged; take it from its source again, or leave it out."
        ) from error


def _is_cover(stream: Any) -> bool:  # noqa: ANN401
    return "attached_pic" in str(stream.disposition).lower()


def _facts(file: VideoFile, container: Any, stream: Any) -> VideoFacts:  # noqa: ANN401
    context = stream.codec_context
    width, height = context.width, context.height
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise LawmError(
            f"{file.path} declares frames of {width} x {height}; expected sides up to {MAX_SIDE} "
            f"and no more than {MAX_PIXELS:,} pixels."
        )
    rate = stream.guessed_rate or stream.average_rate or 0
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    seconds = seconds or (container.duration or 0) / 1e6
    return VideoFacts(
        codec=str(context.name),
        pixel_format=str(context.pix_fmt),
        width=int(width),
        height=int(height),
        rate=float(rate) if 0 < rate < 1e6 else 0.0,
        frames=int(stream.frames),
        seconds=seconds,
    )


def _shape(frame: Any) -> tuple[int, int]:  # noqa: ANN401
    return frame.width, frame.height


__all__ = ["decode", "probe"]
