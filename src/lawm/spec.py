"""What a data set says about the task: the one thing that the model is built from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lawm.renderer_spec import RendererSpec


@dataclass(frozen=True)
class ObservationSpec:
    """One observation key."""

    shape: tuple[int, ...]  # of one step: (D,) for a state, (H, W, C) for an image
    kind: Literal["state", "image"]  # float32 or uint8 on disk
    mean: tuple[float, ...] = ()  # per dimension over the training episodes; empty for images
    std: tuple[float, ...] = ()  # likewise, never below 1e-3
    change: tuple[float, ...] = ()  # root mean square of o_{t+1} - o_t, never below 1e-2 of std


USUAL_REWARD_SIZE = (0.05, 5.0)  # of a step; the suite's are 0 to 1 in each control step


@dataclass(frozen=True)
class DataSpec:
    """Shapes, units and origin of a data set; plain numbers only, so that it fits a checkpoint."""

    observations: dict[str, ObservationSpec]  # sorted by key
    action_low: tuple[float, ...]  # (A,) in the environment's units
    action_high: tuple[float, ...]  # (A,)
    env_id: str = ""  # "dm_control/cheetah-run"; empty where unknown
    action_repeat: int = 1  # control steps that one action is held for
    control_timestep: float = 0.0  # seconds of one control step, before action repeat; 0 if unknown
    return_mean: float = float("nan")  # of the behaviour data, over episodes with rewards
    return_best: float = float("nan")
    terminates: bool = True  # whether an episode of the data ends in a terminal state
    renderer: RendererSpec | None = None  # of the images; None without, and where it is unknown
    reward_size: float = float("nan")  # root mean square of the known rewards other than 0

    @property
    def reward_unit(self) -> float:
        """Rewards divided by it have the size that losses and policy are made for.

        1 for rewards of the suite's size and where none is known, else their size.
        """
        low, high = USUAL_REWARD_SIZE
        is_usual = math.isnan(self.reward_size) or low <= self.reward_size <= high
        return 1.0 if is_usual else self.reward_size

    @property
    def action_dim(self) -> int:
        """A."""
        return len(self.action_low)

    @property
    def unrendered_images(self) -> list[str]:
        """Keys of images that no environment can give, as nobody knows how they were taken."""
        known = self.renderer.cameras if self.renderer else {}
        return [
            key
            for key, observation in self.observations.items()
            if observation.kind == "image" and key not in known
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; :meth:`from_dict` restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        """Inverse of :meth:`to_dict`, also after a trip through JSON."""
        observations = {
            key: ObservationSpec(
                shape=tuple(item["shape"]),
                kind=item["kind"],
                mean=tuple(item["mean"]),
                std=tuple(item["std"]),
                change=tuple(item["change"]),
            )
            for key, item in values["observations"].items()
        }
        rest = {key: value for key, value in values.items() if key != "observations"}
        rest["action_low"] = tuple(rest["action_low"])
        rest["action_high"] = tuple(rest["action_high"])
        if rest.get("renderer") is not None:
            rest["renderer"] = RendererSpec.from_dict(rest["renderer"])
        return cls(observations=observations, **rest)


__all__ = ["DataSpec", "ObservationSpec"]
