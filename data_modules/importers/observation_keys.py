"""Which observation keys are imported, under which names, and in which layout.

By default every key that is a number or a vector a step, or a uint8 image: numbers become
(T + 1, 1), images of (C, H, W) become (H, W, C), grey ones get a channel, vectors become float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import ObservationField
from lawm.errors import LawmError

CHANNELS = (1, 3, 4)  # of an image in either layout
Layout = Literal["numbers", "hwc", "chw", "hw"]


@dataclass(frozen=True)
class ChosenKey:
    """An observation key on its way into the shard."""

    source: str  # what the source calls it
    name: str  # what the shard calls it
    field: ObservationField
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one step in the shard."""
        shape = self.field.shape
        if self.layout == "numbers":
            return (int(np.prod(shape)),)
        return {"hwc": shape, "chw": (*shape[1:], *shape[:1]), "hw": (*shape, 1)}[self.layout]

    @property
    def dtype(self) -> np.dtype[Any]:
        """In the shard."""
        return np.dtype(np.float32 if self.layout == "numbers" else np.uint8)

    @property
    def change(self) -> str:
        """What is done to it, for the reader; empty where nothing is."""
        if self.layout == "chw":
            return "channels last"
        if self.layout == "numbers" and self.field.dtype != np.float32:
            return f"from {self.field.dtype}"
        return ""

    def convert(self, values: NDArray[Any], where: str) -> NDArray[Any]:
        """(R, ...) as the source has it to (R, D) float or (R, H, W, C) uint8.

        Floats keep their precision: the shard's writer refuses what float32 cannot hold.

        Args:
            values: Of one episode.
            where: The episode, for messages.

        Raises:
            LawmError: They are of another kind than the key is.
        """
        is_number = values.dtype.kind in "fiub" and self.layout == "numbers"
        if values.shape[1:] != self.field.shape or not (is_number or values.dtype == np.uint8):
            raise LawmError(
                f"`{self.source}` of {where} has steps of {values.dtype} and shape "
                f"{values.shape[1:]}; expected {self.field.dtype} and {self.field.shape}, as in "
                "the first episode. Import episodes of one kind at a time."
            )
        if self.layout == "numbers":
            flat = values.reshape(len(values), -1)
            return flat if flat.dtype.kind == "f" else flat.astype(np.float32)
        if self.layout == "chw":
            return np.moveaxis(values, 1, -1)
        return values[..., None] if self.layout == "hw" else values


def choose_keys(
    fields: Mapping[str, ObservationField], asked: Sequence[str], where: str
) -> tuple[list[ChosenKey], dict[str, str]]:
    """The keys to import and, of the others, why not.

    Args:
        fields: What the source has.
        asked: ``KEY`` or ``KEY=NAME``; empty for all that are fit.
        where: The source, for messages.

    Raises:
        LawmError: A key that is not there or cannot be imported, two keys of one name, or none.
    """
    renamed = dict(word.partition("=")[::2] for word in asked)
    unknown = sorted(renamed.keys() - fields.keys())
    if unknown:
        raise LawmError(
            f"--keys asks for {', '.join(unknown)}, which {where} does not have; its observation "
            f"keys are {', '.join(fields) or 'none'}."
        )
    chosen: list[ChosenKey] = []
    left_out: dict[str, str] = {}
    for key, field in fields.items():
        layout = layout_of(field)
        if asked and key not in renamed:
            left_out[key] = "not among --keys"
        elif layout is None and asked:
            raise LawmError(
                f"--keys asks for `{key}` of {where}, whose steps are {field.dtype} of shape "
                f"{field.shape}; expected numbers, or uint8 images."
            )
        elif layout is None:
            left_out[key] = f"{field.dtype} {field.shape}: neither numbers nor a uint8 image"
        elif field.left_out and not asked:
            left_out[key] = field.left_out
        elif not asked and layout == "numbers" and len(field.shape) > 1:
            left_out[key] = (
                f"{len(field.shape)} axes a step of {field.dtype}, where pictures are uint8; "
                f"--keys {key} makes it a vector"
            )
        else:
            chosen.append(ChosenKey(key, renamed.get(key) or field.name, field, layout))
    if not chosen:
        reasons = "; ".join(f"{key}: {why}" for key, why in left_out.items()) or "it has none"
        raise LawmError(f"{where} has no observations that can be imported ({reasons}).")
    names = [one.name for one in chosen]
    for one in chosen:
        if names.count(one.name) > 1 or not one.name or {"/", "."} & set(one.name):
            raise LawmError(
                f"The observation `{one.source}` of {where} would be called {one.name!r}; expected "
                "a name of its own without '/' and '.'. Rename it with --keys KEY=NAME."
            )
    return chosen, left_out


def layout_of(field: ObservationField) -> Layout | None:
    """How the steps of a key lie, None where they can be neither a state nor an image."""
    shape = field.shape
    if min(shape, default=1) < 1:
        return None
    if field.dtype == np.uint8 and len(shape) == 3:
        return "chw" if shape[0] in CHANNELS and shape[2] not in CHANNELS else "hwc"
    if field.dtype == np.uint8 and len(shape) == 2:
        return "hw"
    return "numbers" if field.dtype.kind in "fiub" else None


__all__ = ["ChosenKey", "choose_keys", "layout_of"]
