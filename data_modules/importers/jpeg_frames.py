"""Frames that are stored as JPEG, a frame a row of an HDF5 dataset."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lawm.data_modules.safe_dataset import MAX_READ_BYTES, SafeDataset
from lawm.errors import LawmError

MAGIC = b"\xff\xd8\xff"
MAX_SIDE = 8192  # pixels
FAULTS = (OSError, ValueError, SyntaxError)  # what pillow raises


def holds_jpeg(dataset: SafeDataset) -> bool:
    """Whether each row is a JPEG file, be they of any length or all of the same."""
    ragged = dataset.element is not None and dataset.element == np.uint8 and len(dataset.shape) == 1
    even = dataset.dtype == np.uint8 and len(dataset.shape) == 2
    if not (ragged or even) or not len(dataset):
        return False
    return _bytes(dataset.read(0, 1)[0])[:3] == MAGIC


def decode_frames(
    dataset: SafeDataset, shape: tuple[int, ...] | None, num: int | None = None
) -> NDArray[np.uint8]:
    """Decode the first frames, or all.

    Args:
        dataset: For which :func:`holds_jpeg`.
        shape: (H, W, C) or (H, W) that every frame must have; None for that of the first.
        num: How many frames; all by default.

    Returns:
        (num, *shape) uint8.

    Raises:
        LawmError: A frame is no JPEG, is damaged or of another size.
    """
    rows = dataset.read(0, num)
    frames = np.empty((0,), np.uint8)
    for index, row in enumerate(rows):
        where = f"Frame {index} of {dataset.where}"
        frame = _decode(_bytes(row), shape, where)
        if index == 0:
            shape = frame.shape
            if math.prod(shape) * len(rows) > MAX_READ_BYTES:
                raise LawmError(f"{where}: {len(rows)} frames of {shape} are too many at once.")
            frames = np.empty((len(rows), *shape), np.uint8)
        frames[index] = frame
    return frames


def _bytes(row: object) -> bytes:
    return np.asarray(row, np.uint8).tobytes()


def _decode(data: bytes, shape: tuple[int, ...] | None, where: str) -> NDArray[np.uint8]:
    try:
        # The header is read first: a size that is not expected is never allocated
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        bands = len(image.getbands())
        found = (image.height, image.width, *((bands,) if bands > 1 else ()))
        if max(found[:2]) > MAX_SIDE or (shape is not None and found != shape):
            raise LawmError(
                f"{where} is a picture of {found}; expected {shape or 'sides up to 8192 pixels'}."
            )
        return np.asarray(image, np.uint8)
    except LawmError:
        raise
    except (*FAULTS, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LawmError(f"{where} cannot be decoded as JPEG: {error}.") from error


__all__ = ["decode_frames", "holds_jpeg"]
