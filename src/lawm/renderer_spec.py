"""How the pictures of a data set were taken, so that others can be taken alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lawm.errors import LawmError

PIXELS = "pixels"  # the observation key of the first camera; others are pixels_<camera>
MAX_SIZE = 1024  # pixels a side


@dataclass(frozen=True)
class RendererSpec:
    """Everything that decides what a picture of a given simulator state looks like."""

    width: int  # pixels
    height: int  # pixels
    cameras: dict[str, str]  # by observation key: the camera's name, its number where it has none
    shadows: bool = False
    reflections: bool = False
    multisamples: int = 0
    backend: str = field(default="", compare=False)  # of OpenGL, such as "egl"; to be told alone

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            if not 1 <= size <= MAX_SIZE:
                raise LawmError(
                    f"The {name} of the pictures is {size}; expected 1 to {MAX_SIZE} pixels."
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one picture."""
        return (self.height, self.width, 3)

    def for_keys(self, keys: Collection[str]) -> RendererSpec | None:
        """The part that makes these observation keys; None if it makes none of them."""
        cameras = {key: camera for key, camera in self.cameras.items() if key in keys}
        return replace(self, cameras=cameras) if cameras else None

    def __str__(self) -> str:
        cameras = ", ".join(f"{key} by camera {name}" for key, name in self.cameras.items())
        look = f"shadows {_on(self.shadows)}, reflections {_on(self.reflections)}"
        return f"{self.width} x {self.height}, {cameras}, {look}, {self.multisamples} multisamples"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RendererSpec:
        """Inverse of :meth:`to_dict`, also after a trip through JSON.

        Raises:
            LawmError: A field is missing, unknown or of another type; says which.
        """
        missing = sorted({"width", "height", "cameras"} - values.keys())
        if missing or values.keys() - cls.__dataclass_fields__.keys():
            raise LawmError(
                f"The renderer has the fields {', '.join(sorted(map(str, values)))}; expected "
                f"{', '.join(cls.__dataclass_fields__)}."
            )
        kinds = {"shadows": bool, "reflections": bool, "backend": str, "cameras": dict}
        for name, value in values.items():
            kind = kinds.get(name, int)
            if type(value) is not kind:
                raise LawmError(
                    f"The renderer's {name} is {value!r}; expected a value of type {kind.__name__}."
                )
        cameras = values["cameras"]
        if not cameras or not all(isinstance(text, str) for text in (*cameras, *cameras.values())):
            raise LawmError(
                f"The renderer's cameras are {cameras!r}; expected a camera by observation key."
            )
        return cls(**values)


def camera_keys(cameras: Collection[str]) -> dict[str, str]:
    """Cameras by the observation key of their pictures: the first one's is ``pixels``."""
    return {
        PIXELS if number == 0 else f"{PIXELS}_{camera}": camera
        for number, camera in enumerate(cameras)
    }


def _on(flag: bool) -> str:
    return "on" if flag else "off"


__all__ = ["MAX_SIZE", "PIXELS", "RendererSpec", "camera_keys"]
