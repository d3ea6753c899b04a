"""What the process that decodes a video tells; it travels as JSON and bytes, without pickles."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class VideoFacts:
    """What a file says of its video; zero where it says nothing."""

    codec: str
    pixel_format: str
    width: int
    height: int
    rate: float  # frames a second, on average where it varies
    frames: int
    seconds: float

    def __str__(self) -> str:
        rate = f"{self.rate:.4g} frames/s" if self.rate else "an unknown rate"
        return f"{self.codec}, {self.width} x {self.height}, {rate}"


@dataclass(frozen=True)
class Picture:
    """What some steps in turn show."""

    time: float  # seconds from the start of the video
    steps: int
    pixels: bytes  # (H, W, 3) uint8


@dataclass(frozen=True)
class Break:
    """The trajectory ends: what follows does not follow on from what came before."""

    time: float
    reason: str  # half a sentence


@dataclass(frozen=True)
class Ending:
    """What was found in the whole file."""

    decoded: int  # frames
    used: int  # of them, that some step shows
    steps: int
    shortest: float  # seconds between two frames
    longest: float


@dataclass(frozen=True)
class Alive:
    """Nothing to tell, but busy."""


@dataclass(frozen=True)
class Refusal:
    """Why a file is not imported, as sentences."""

    text: str


Message = VideoFacts | Picture | Break | Ending | Alive | Refusal
_KINDS = {kind.__name__: kind for kind in (VideoFacts, Break, Ending, Alive, Refusal)}
_PICTURE = struct.Struct("<dQ")
MAX_TEXT = 1 << 16  # bytes of a message that is no picture


def to_bytes(message: Message) -> bytes:
    """A message on its way."""
    if isinstance(message, Picture):
        return b"P" + _PICTURE.pack(message.time, message.steps) + message.pixels
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()


def from_bytes(data: bytes) -> Message:
    """What :func:`to_bytes` made.

    Raises:
        ValueError: It is something else.
    """
    if data[:1] == b"P":
        time, steps = _PICTURE.unpack_from(data, 1)
        return Picture(time, steps, data[1 + _PICTURE.size :])
    values = json.loads(data)
    return _KINDS[values.pop("kind")](**values)


__all__ = [
    "MAX_TEXT",
    "Alive",
    "Break",
    "Ending",
    "Message",
    "Picture",
    "Refusal",
    "VideoFacts",
    "from_bytes",
    "to_bytes",
]
