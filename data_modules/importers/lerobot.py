"""LeRobot data sets of version 3: parquet tables and mp4 files, many episodes in each.

    meta/info.json                           version, fps, features, number of episodes
    meta/episodes/chunk-*/file-*.parquet     length of each episode, where its rows and frames lie
    data/chunk-*/file-*.parquet              a row a frame: action, observation.*, next.reward, ...
    videos/<key>/chunk-*/file-*.mp4          frames of the keys that are videos, time in seconds

A frame of an episode is shown at ``from_timestamp + frame_index / fps`` of its video. Pictures that
are no videos lie in the table as PNG or JPEG. The action and ``next.reward`` of a row are those
taken at it and received for it. ``next.done`` of the last row tells of an observation that was not
recorded, so every episode is imported as cut off.

Read from the code of huggingface/lerobot (datasets/lerobot_dataset.py, utils.py; version 0.4.4).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.importers.lerobot_places import EpisodePlace, episode_places
from lawm.data_modules.importers.lerobot_tables import Table, need_extra
from lawm.data_modules.importers.lerobot_video import Video
from lawm.errors import LawmError

INFO = "meta/info.json"
MAX_INFO_BYTES = 16 << 20
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
REWARDS = ("next.reward", "reward")
PICTURES = ("image", "video")
CONVERTERS = {
    "v2.1": "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=ID",
    "v2.0": "lerobot's convert_dataset_v20_to_v21 and then convert_dataset_v21_to_v30",
}


class LeRobot(Importer):
    """See the module."""

    name = "lerobot"
    summary = "LeRobot v3: meta/info.json, parquet tables, mp4 files; needs the extra lawm[lerobot]"

    def recognises(self, source: Path) -> Recognition:
        """``meta/info.json`` with a ``codebase_version``, of whatever version."""
        if not (source / INFO).is_file():
            return Recognition(False, f"has no {INFO}")
        try:
            version = _info(source).get("codebase_version")
        except LawmError as error:
            return Recognition(False, str(error))
        if version is None:
            return Recognition(False, f"{INFO} has no codebase_version")
        return Recognition(True, f"{INFO} has the codebase_version {version}")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        info = _info(source)
        _refuse_other_versions(source, info)
        need_extra()
        with ExitStack() as stack:
            yield _DataSet(source, info, stack)


class _DataSet(Source):
    def __init__(self, source: Path, info: Mapping[str, Any], stack: ExitStack) -> None:
        self._root = source
        self._fps = _positive(source, info, "fps")
        features = _features(source, info)
        self._shapes = {name: _shape(source, name, f) for name, f in features.items()}
        self._kinds = {name: str(f.get("dtype")) for name, f in features.items()}
        self._channels_first = {n for n, f in features.items() if _is_channels_first(f)}
        self._reward = next((name for name in REWARDS if name in features), None)
        videos = [name for name, kind in self._kinds.items() if kind == "video"]
        self._places = episode_places(source, videos)
        stated = info.get("total_episodes")
        if stated != len(self._places):
            raise LawmError(
                f"{source / INFO} tells of {stated} episodes, but meta/episodes lists "
                f"{len(self._places)}. Download the data set again."
            )
        self._table, self._videos = Table(source, stack), {v: Video(source, v) for v in videos}
        for video in self._videos.values():
            stack.push(video)
        others = [n for n in features if n not in BOOKKEEPING and n not in ("action", self._reward)]
        self.observations = {
            name: self._field(name) for name in others if not name.startswith("next.")
        }
        self.notes = []
        self.facts = SourceFacts(
            files=_files(source),
            num_episodes=len(self._places),
            action_convention="taken_at",
            convention_reason="LeRobot stores an action with the observation it was chosen at",
            env_name=str(info.get("robot_type") or ""),
            action_repeat=1,
            control_timestep=1.0 / self._fps,
            left_out={
                **{n: "of an observation that is not here" for n in others if n[:5] == "next."},
                "tasks": "the words of the task",
            },
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        columns = [key for key in keys if self._kinds[key] != "video"]
        wanted = {*columns, *(n for n in ("action", self._reward) if n in self._kinds)}
        for place in self._places:
            rows = self._table.rows(place, sorted(filter(None, wanted)))
            obs = {key: self._observations(key, rows, place) for key in keys}
            yield RawEpisode(
                num_rows=place.length,
                obs=obs,
                action=self._numbers("action", rows, place) if "action" in rows else None,
                reward=self._numbers(self._reward, rows, place) if self._reward else None,
                terminated=False,
                truncated=True,
                source_id=f"episode/{place.number}",
            )

    def _observations(self, key: str, rows: Mapping[str, Any], place: EpisodePlace) -> NDArray[Any]:
        if self._kinds[key] not in PICTURES:
            return self._numbers(key, rows, place)
        shape = self._picture_shape(key)
        if self._kinds[key] == "video":
            return self._videos[key].frames(place, self._fps, shape)
        where = f"`{key}` of episode {place.number} in {self._root}"
        return self._table.pictures(rows[key], shape, where)

    def _numbers(self, name: str, rows: Mapping[str, Any], place: EpisodePlace) -> NDArray[Any]:
        where = f"`{name}` of episode {place.number} in {self._root}"
        return self._table.numbers(rows[name], (place.length, *self._shapes[name]), where)

    def _field(self, name: str) -> ObservationField:
        short = name.removeprefix("observation.").removeprefix("images.").replace("/", ".")
        if self._kinds[name] in PICTURES:
            return ObservationField(self._picture_shape(name), np.dtype(np.uint8), short)
        kind = self._kinds[name]
        try:
            dtype = np.dtype(kind)
        except TypeError:
            dtype = np.dtype(object)
        reason = "" if name.startswith("observation.") else "not called observation.*"
        return ObservationField(self._shapes[name], dtype, short, reason)

    def _picture_shape(self, name: str) -> tuple[int, ...]:
        """(H, W, 3), whichever way the features state it."""
        shape = self._shapes[name]
        height_width = shape[1:] if name in self._channels_first else shape[:2]
        if len(shape) != 3 or not all(0 < side <= 1 << 14 for side in height_width):
            raise LawmError(
                f"Feature `{name}` of {self._root / INFO} has the shape {shape}; expected height, "
                "width and channels of a picture."
            )
        return (*height_width, 3)


def _info(source: Path) -> dict[str, Any]:
    path = source / INFO
    try:
        if path.stat().st_size > MAX_INFO_BYTES:
            raise LawmError(f"{path} has more than {MAX_INFO_BYTES >> 20} MiB; expected a few kB.")
        info = json.loads(path.read_bytes())
    except LawmError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise LawmError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(info, dict):
        raise LawmError(f"{path} holds a {type(info).__name__}; expected a JSON object.")
    return info


def _refuse_other_versions(source: Path, info: Mapping[str, Any]) -> None:
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        convert = CONVERTERS.get(version, "lerobot's converters")
        raise LawmError(
            f"{source} is a LeRobot data set of version {version[:40]}; expected v3.0, whose files "
            f"hold many episodes. Convert it first: {convert}."
        )


def _features(source: Path, info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise LawmError(
            f"{source / INFO} has no table `features`; expected one, as LeRobot writes."
        )
    return features


def _shape(source: Path, name: str, feature: Mapping[str, Any]) -> tuple[int, ...]:
    """Of one row; a scalar is (1,)."""
    shape = feature.get("shape")
    whole = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if not isinstance(shape, list) or not whole:
        raise LawmError(
            f"Feature `{name}` of {source / INFO} has the shape {shape!r}; expected a list of "
            "whole numbers."
        )
    return tuple(shape)


def _is_channels_first(feature: Mapping[str, Any]) -> bool:
    names = feature.get("names")
    return isinstance(names, list) and bool(names) and str(names[0]).startswith("channel")


def _positive(source: Path, info: Mapping[str, Any], name: str) -> float:
    value = info.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
        raise LawmError(f"`{name}` of {source / INFO} is {value!r}; expected a positive number.")
    return float(value)


def _files(source: Path) -> tuple[Path, ...]:
    found = [source / INFO]
    for pattern in ("meta/episodes/*/*.parquet", "data/*/*.parquet", "videos/*/*/*.mp4"):
        found += sorted(source.glob(pattern))
    return tuple(found)


IMPORTER = LeRobot()

__all__ = ["IMPORTER", "LeRobot"]
