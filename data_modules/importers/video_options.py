"""What the user may say of the import of videos."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from lawm.errors import LawmError

Aspect = Literal["crop", "letterbox"]
MAX_SIDE = 1024  # pixels of what is stored
MAX_FPS = 1000.0


@dataclass(frozen=True)
class VideoOptions:
    """How pictures and their times become observations; the defaults hold where nothing is said."""

    size: tuple[int, int] = (64, 64)  # (H, W) of what is stored
    aspect: Aspect = "crop"  # pictures of another shape: cut to the centre, or black bars
    fps: float = 0.0  # steps a second; 0: as control_timestep says, else the source's own rate
    control_timestep: float = 0.0  # seconds, before action repeat; 0: not given
    action_repeat: int = 1
    every: int = 0  # every n-th frame is a step, whatever its time; 0: time decides
    cut_threshold: float = 0.15  # see SceneCuts; 1: no cuts
    min_steps: int = 1  # shorter trajectories are dropped

    def __post_init__(self) -> None:
        for name, value in (("fps", self.fps), ("control-timestep", self.control_timestep)):
            if value and not 1.0 / MAX_FPS <= value <= MAX_FPS:
                raise LawmError(
                    f"--{name} is {value:g}; expected a number from {1 / MAX_FPS:g} to {MAX_FPS:g}."
                )
        if self.fps and self.control_timestep:
            raise LawmError(
                "--fps and --control-timestep (or --env) say the same in two ways; give one."
            )
        if self.fps and self.every:
            raise LawmError(
                "--fps chooses frames by their time, --every by their number; give one."
            )
        for name, number in (("every", self.every), ("min-steps", self.min_steps)):
            if number < 0:
                raise LawmError(f"--{name} is {number}; expected at least 1.")
        if not 0.0 < self.cut_threshold <= 1.0:
            raise LawmError(
                f"--cut-threshold is {self.cut_threshold:g}; expected a share of the brightness "
                "range above 0, and 1 to cut nowhere."
            )
        if not all(1 <= side <= MAX_SIDE for side in self.size):
            raise LawmError(
                f"--size is {self.size[0]}x{self.size[1]}; expected sides from 1 to {MAX_SIDE}."
            )

    def words(self) -> list[str]:
        """The arguments that ask for the same on a command line."""
        of_all = ("action_repeat", "control_timestep")  # formats, said by ImportOptions
        names = [field.name for field in fields(self) if field.name not in of_all]
        words: list[str] = []
        for name in names:
            if getattr(self, name) == getattr(VideoOptions, name):
                continue
            value = getattr(self, name)
            text = "x".join(map(str, value)) if name == "size" else str(value)
            words += [f"--{name.replace('_', '-')}", text]
        return words

    @property
    def step_seconds(self) -> float:
        """Seconds of a step, action repeat included; 0 where nothing was said of it."""
        return 1.0 / self.fps if self.fps else self.control_timestep * self.action_repeat


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``"64"`` or ``"48x64"``.

    Raises:
        LawmError: The text is neither.
    """
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower())
    if match is None:
        raise LawmError(f"--size is {text!r}; expected a side such as 64, or HEIGHTxWIDTH.")
    height = int(match[1])
    return height, int(match[2] or height)


__all__ = ["Aspect", "VideoOptions", "parse_size"]
