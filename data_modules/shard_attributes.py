"""What a shard says of itself in its attributes: checked, and written into the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.index_writer import write_dataset
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec

MAX_ATTRIBUTE = 60_000  # bytes; attributes together with their header have 65,536


def checked_bounds(
    path: Path, low: ArrayLike, high: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The action bounds of a shard as arrays.

    Raises:
        LawmError: They are none.
    """
    lower, upper = np.asarray(low, np.float64), np.asarray(high, np.float64)
    are_lists = lower.ndim == 1 and lower.shape == upper.shape
    if not are_lists or not np.isfinite([lower, upper]).all() or not (lower < upper).all():
        raise LawmError(
            f"The action bounds for {path} are {lower.tolist()} and {upper.tolist()}; "
            "expected two lists of finite numbers, one per dimension, each low below its high."
        )
    return lower, upper


def write_attributes(
    file: h5py.File,
    *,
    settings: Mapping[str, Any],
    renderer: RendererSpec | None,
    provenance: Mapping[str, Any],
) -> None:
    """Write them all, ``complete`` last.

    Args:
        file: The shard, whose arrays are written.
        settings: Fields of :class:`~lawm.data_modules.shard_format.ShardMeta` by name: numbers,
            arrays and texts.
        renderer: What took the pictures; None without, and where it is unknown.
        provenance: How the data came to be; JSON, in a dataset where it is too long for an
            attribute.
    """
    texts = {"format": fmt.FORMAT, "action_convention": fmt.ACTION_CONVENTION}
    texts |= {name: value for name, value in settings.items() if isinstance(value, str)}
    if renderer is not None:
        texts["renderer"] = json.dumps(renderer.to_dict())
    told = json.dumps(provenance)
    if len(told.encode()) <= MAX_ATTRIBUTE:
        texts[fmt.PROVENANCE] = told
    else:
        write_dataset(file, fmt.PROVENANCE, np.frombuffer(told.encode(), np.uint8))
    file.attrs["version"] = fmt.VERSION
    file.attrs.update(settings)
    file.attrs.update({name: fmt.fixed_text(value) for name, value in texts.items()})
    file.attrs["complete"] = True


__all__ = ["checked_bounds", "write_attributes"]
