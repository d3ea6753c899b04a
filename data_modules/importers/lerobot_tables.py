"""The parquet tables of a LeRobot data set, read a row group at a time with pyarrow."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # of the row groups that one episode touches
INDEX_COLUMNS = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
DATA_FILE = ("data/chunk_index", "data/file_index")
ADVICE = "Download the data set again."


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


@dataclass(frozen=True)
class VideoPlace:
    """Where the frames of an episode lie."""

    chunk: int
    file: int
    start: float  # seconds in the video


@dataclass(frozen=True)
class EpisodePlace:
    """Where the rows of an episode lie."""

    number: int
    length: int  # rows
    start: int  # first row, counted over the whole data set
    chunk: int
    file: int
    first_of_file: int  # the first row of its file, counted likewise
    videos: dict[str, VideoPlace]


def episode_places(root: Path, videos: Sequence[str]) -> list[EpisodePlace]:
    """The episodes of a data set in their order.

    Args:
        root: Its folder.
        videos: The features that are videos.

    Raises:
        LawmError: The tables are missing or damaged.
    """
    wanted = {
        video: [f"videos/{video}/{part}" for part in ("chunk_index", "file_index")]
        for video in videos
    }
    times = {video: f"videos/{video}/from_timestamp" for video in videos}
    whole = [*INDEX_COLUMNS, *DATA_FILE, *(name for names in wanted.values() for name in names)]
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in (*whole, *times.values())}
    paths = sorted(root.glob("meta/episodes/*/*.parquet"))
    if not paths:
        raise LawmError(f"{root} has no meta/episodes/*/*.parquet. {ADVICE}")
    for path in paths:
        with ExitStack() as stack:
            table = _read(_opened(path, stack), path, None, list(found))
            for name in found:
                is_time = name in times.values()
                kind = np.float64 if is_time else np.int64
                found[name].append(one_a_row(table[name], f"`{name}` of {path}", kind))
    columns = {name: np.concatenate(parts).tolist() for name, parts in found.items()}
    first_of_file: dict[tuple[int, int], int] = {}
    files = list(zip(*(columns[name] for name in DATA_FILE), strict=True))
    for file, start in zip(files, columns["dataset_from_index"], strict=True):
        first_of_file[file] = min(start, first_of_file.get(file, start))
    places = [
        EpisodePlace(
            number=columns["episode_index"][i],
            length=columns["length"][i],
            start=columns["dataset_from_index"][i],
            chunk=file[0],
            file=file[1],
            first_of_file=first_of_file[file],
            videos={
                video: VideoPlace(
                    columns[names[0]][i], columns[names[1]][i], columns[times[video]][i]
                )
                for video, names in wanted.items()
            },
        )
        for i, file in enumerate(files)
    ]
    for place, end in zip(places, columns["dataset_to_index"], strict=True):
        if place.length < 1 or place.start < 0 or end - place.start != place.length:
            raise LawmError(
                f"Episode {place.number} of {root} has length {place.length} and rows "
                f"{place.start} to {end}; expected as many rows as its length. {ADVICE}"
            )
    return sorted(places, key=lambda place: place.number)


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
            self._file, self._path = _opened(path, self._open_file), path
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
        table = _read(self._file, path, groups, names).slice(begin, place.length)
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


def flat(column: Any, where: str, dtype: type | None) -> NDArray[Any]:  # noqa: ANN401
    """All numbers of a column, its lists one behind the other.

    Args:
        column: Of an arrow table.
        where: For messages.
        dtype: What they must be; None for any numbers.

    Raises:
        LawmError: They are no such numbers, or some are missing.
    """
    import pyarrow as pa

    try:
        values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        while isinstance(values, pa.ExtensionArray):
            values = values.storage
        while pa.types.is_nested(values.type) and values.null_count == 0:
            values = values.flatten()
        kind = values.type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if values.null_count or not (is_number or pa.types.is_boolean(kind)):
            raise LawmError(
                f"{where} has the type {column.type} and {values.null_count} missing values; "
                f"expected numbers. {ADVICE}"
            )
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    except LawmError:
        raise
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise LawmError(f"{where} cannot be read: {error}. {ADVICE}") from error
    if dtype is not None and numbers.dtype != dtype:
        raise LawmError(
            f"{where} has the type {numbers.dtype}; expected {np.dtype(dtype)}. {ADVICE}"
        )
    return numbers


def one_a_row(column: Any, where: str, dtype: type) -> NDArray[Any]:  # noqa: ANN401
    """A column of numbers, none of which is a list.

    Raises:
        LawmError: As :func:`flat`, or there are lists.
    """
    numbers = flat(column, where, dtype)
    if len(numbers) != len(column):
        raise LawmError(
            f"{where} has {len(numbers)} numbers in {len(column)} rows; expected one in each. "
            f"{ADVICE}"
        )
    return numbers


def _opened(path: Path, stack: ExitStack) -> Any:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise LawmError(f"There is no file {path}. {ADVICE}")
    try:
        return stack.enter_context(pq.ParquetFile(path, memory_map=False))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LawmError(f"{path} cannot be read as parquet: {error}. {ADVICE}") from error


def _read(file: Any, path: Path, groups: list[int] | None, columns: list[str]) -> Any:  # noqa: ANN401
    """The columns of some row groups; None for all of them."""
    import pyarrow as pa

    missing = sorted(set(columns) - set(file.schema_arrow.names))
    if missing:
        raise LawmError(f"{path} has no column `{missing[0]}`. {ADVICE}")
    groups = list(range(file.num_row_groups)) if groups is None else groups
    size = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    if size > MAX_READ_BYTES:
        raise LawmError(
            f"{path} has {size / 2**30:.1f} GiB to be read at once; expected "
            f"{MAX_READ_BYTES >> 30} GiB at most. Write it anew with smaller files."
        )
    try:
        return file.read_row_groups(groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise LawmError(f"{path} cannot be read as parquet: {error}. {ADVICE}") from error


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


__all__ = ["EpisodePlace", "Table", "VideoPlace", "episode_places", "flat", "need_extra"]
