"""Where a LeRobot data set keeps each episode: its rows, and its frames in the videos."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.lerobot_columns import ADVICE, one_a_row, opened, read_groups
from lawm.errors import LawmError

INDEX_COLUMNS = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
DATA_FILE = ("data/chunk_index", "data/file_index")


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
            table = read_groups(opened(path, stack), path, None, list(found))
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


__all__ = ["EpisodePlace", "VideoPlace", "episode_places"]
