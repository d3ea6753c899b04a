"""The rows of a LeRobot data set's episodes, read a row group at a time with pyarrow."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.lerobot_columns import (
    ADVICE,
    MAX_READ_BYTES,
    flat,
    one_a_row,
    opened,
    read_groups,
)
from lawm.data_modules.importers.lerobot_places import EpisodePlace
from lawm.errors import LawmError


def need_extra() -> None:
    """Refuse to go on without the packages of the extra.

    Raises:
        LawmError: One is missing; says how to install it.
    """
    for package in ("pyarrow", "av"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise LawmError(
                f"LeRobot data sets need the package {package}, which cannot be imported ({error})."
                " Install it with `pip install 'lawm[lerobot]'`."
            ) from error


class Table:
    """The rows of the episodes.

    Args:
        root: The folder of the data set.
        stack: Closes the file that is open.
    """

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root, self._path = root, Path()
        self._file: Any = None  # pyarrow's ParquetFile
        self._open_file = stack.enter_context(ExitStack())

    def rows(self, place: EpisodePlace, columns: Sequence[str]) -> dict[str, Any]:
        """The columns of one episode, as arrow arrays.

        Raises:
            LawmError: The file is missing or damaged, or its rows are another episode's.
        """
        path = self._root / f"data/chunk-{place.chunk:03d}/file-{place.file:03d}.parquet"
        if path != self._path or self._file is None:
            self._open_file.close()
            self._file, self._path = opened(path, self._open_file), path
        ends = np.cumsum(
            [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        )
        start = place.start - place.first_of_file
        if not len(ends) or start + place.length > ends[-1]:
            raise LawmError(
                f"{path} has {ends[-1] if len(ends) else 0} rows; expected {place.length} from row "
                f"{start} on for episode {place.number}. {ADVICE}"
            )
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, start + place.length, side="left"))
        groups = list(range(first, last + 1))
        begin = start - (int(ends[first - 1]) if first else 0)
        names = [*columns, "episode_index", "frame_index"]
        table = read_groups(self._file, path, groups, names).slice(begin, place.length)
        where = f"{path}, row {start} on"
        number = one_a_row(table["episode_index"], f"`episode_index` of {where}", np.int64)
        frame = one_a_row(table["frame_index"], f"`frame_index` of {where}", np.int64)
        if (number != place.number).any() or (frame != np.arange(place.length)).any():
            raise LawmError(
                f"{where}: the rows are not those of episode {place.number}, frames 0 to "
                f"{place.length - 1}, where meta/episodes places them. {ADVICE}"
            )
        return {name: table[name] for name in columns}

    def numbers(self, column: Any, shape: tuple[int, ...], where: str) -> NDArray[Any]:  # noqa: ANN401
        """A column of numbers or lists of them.

        Raises:
            LawmError: It is something else or of another shape.
        """
        values = flat(column, where, None)
        if values.size != math.prod(shape):
            raise LawmError(
                f"{where} has {values.size} numbers; expected the shape {shape} that "
                f"meta/info.json states. {ADVICE}"
            )
        return values.reshape(shape)

    def pictures(self, column: Any, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:  # noqa: ANN401
        """A column of encoded pictures, (R, H, W, 3).

        Raises:
            LawmError: One is missing, damaged or of another size.
        """
        num = len(column)
        if num * math.prod(shape) > MAX_READ_BYTES:
            raise LawmError(f"{where} has {num} pictures of {shape}: more than fits in 4 GiB.")
        frames = np.empty((num, *shape), np.uint8)
        for row, value in enumerate(column):
            frames[row] = _picture(value.as_py(), shape, f"{where}, frame {row},")
        return frames


def _picture(value: Any, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:  # noqa: ANN401
    from PIL import Image

    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise LawmError(
            f"{where} holds no encoded picture but a path or nothing; expected PNG or JPEG bytes. "
            "Load and save the data set with lerobot, which puts them in."
        )
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if picture.size != (shape[1], shape[0]):
                raise LawmError(
                    f"{where} has {picture.size[1]} x {picture.size[0]} pixels; expected "
                    f"{shape[0]} x {shape[1]} as meta/info.json states. {ADVICE}"
                )
            return np.asarray(picture.convert("RGB"), np.uint8)
    except LawmError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LawmError(f"{where} cannot be decoded: {error}. {ADVICE}") from error


__all__ = ["Table", "need_extra"]
