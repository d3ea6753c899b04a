"""What Minari's metadata.json says: spaces, environment, number of episodes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

MAX_BYTES = 64 << 20  # of the file; image spaces list a bound for every pixel
IMAGE_SIDE = 32  # Minari takes smaller arrays of bytes for no images


@dataclass(frozen=True)
class Space:
    """A gymnasium space as Minari serialises it; empty where it is not known."""

    values: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a Box, else ()."""
        shape = self.values.get("shape")
        if isinstance(shape, list) and all(isinstance(side, int) and side > 0 for side in shape):
            return tuple(shape)
        return ()

    def child(self, name: str) -> Space:
        """The part of a Dict or Tuple space that is stored under a name."""
        parts = self.values.get("subspaces")
        part: object = None
        if isinstance(parts, dict):
            part = parts.get(name)
        elif isinstance(parts, list):
            index = name.removeprefix("_index_")
            if index.isdecimal() and len(index) < 6 and int(index) < len(parts):
                part = parts[int(index)]
        return Space(part) if isinstance(part, dict) else Space()

    def is_image_or_unknown(self) -> bool:
        """Whether Minari may have stored it as JPEG."""
        if not self.values:
            return True
        is_bytes = self.values.get("type") == "Box" and self.values.get("dtype") == "uint8"
        return is_bytes and len(self.shape) in (2, 3) and min(self.shape[:2]) >= IMAGE_SIDE

    def bounds(self) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Low and high of a Box of one axis; None where it has none or they are not finite."""
        try:
            low = np.asarray(self.values.get("low"), np.float64)
            high = np.asarray(self.values.get("high"), np.float64)
        except (TypeError, ValueError, OverflowError):
            return None, None
        if low.ndim != 1 or low.shape != high.shape or not low.size:
            return None, None
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            return None, None
        return low, high


@dataclass(frozen=True)
class MinariMetadata:
    """The parts that an import needs."""

    data_format: str
    observation_space: Space
    action_space: Space
    env_name: str
    total_episodes: int | None


def read_metadata(path: Path) -> MinariMetadata:
    """Read the file.

    Raises:
        LawmError: It is too large or no JSON object.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LawmError(f"{path} is larger than {MAX_BYTES >> 20} MiB; expected metadata.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise LawmError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise LawmError(f"{path} holds a {type(values).__name__}; expected a JSON object.")
    total = values.get("total_episodes")
    return MinariMetadata(
        data_format=str(values.get("data_format", "")),
        observation_space=_space(values.get("observation_space")),
        action_space=_space(values.get("action_space")),
        env_name=str(_object(values.get("env_spec")).get("id", "")),
        total_episodes=total if isinstance(total, int) else None,
    )


def _space(text: object) -> Space:
    return Space(_object(text))


def _object(text: object) -> dict[str, Any]:
    """A JSON object that is written as text inside JSON."""
    if not isinstance(text, str):
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


__all__ = ["MinariMetadata", "Space", "read_metadata"]
