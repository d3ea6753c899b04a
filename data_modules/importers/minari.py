"""Minari's HDF5 (0.5): a folder per data set, a group per episode.

    data/metadata.json                     spaces, environment, data_format
    data/main_data.hdf5                    episode_0, episode_1, ...
    episode_<i>/observations               (T + 1, ...); a Dict or Tuple space is a group
    episode_<i>/actions                    (T, A)
    episode_<i>/rewards                    (T,)
    episode_<i>/terminations, truncations  (T,)

Images are JPEG, a frame a row, unless the metadata say ``jpeg_encoding: false``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.flags import as_flags
from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.importers.jpeg_frames import decode_frames, holds_jpeg
from lawm.data_modules.importers.minari_metadata import MinariMetadata, Space, read_metadata
from lawm.data_modules.importers.recognition import refuse_links
from lawm.data_modules.safe_hdf5 import SafeHdf5, is_hdf5
from lawm.errors import LawmError

DATA, METADATA = "main_data.hdf5", "metadata.json"
MAX_DEPTH = 16  # of nested spaces


class Minari(Importer):
    """See the module."""

    name = "minari"
    summary = "folder with data/main_data.hdf5 and data/metadata.json"

    def recognises(self, source: Path) -> Recognition:
        """A data set's folder, its ``data`` folder or the HDF5 file in it."""
        folder = _data_folder(source)
        if folder is None or not (folder / METADATA).is_file():
            return Recognition(False, f"has no {METADATA} beside a {DATA}")
        try:
            data_format = read_metadata(folder / METADATA).data_format
        except LawmError:
            return Recognition(False, f"has a {METADATA} that is not Minari's")
        if data_format:
            return Recognition(True, f"Minari's {METADATA}, data_format {data_format}")
        return Recognition(False, f"has a {METADATA} without data_format")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        folder = _data_folder(source)
        if folder is None:
            raise LawmError(f"{source} is no Minari data set: there is no data/{METADATA} in it.")
        metadata = read_metadata(folder / METADATA)
        if metadata.data_format != "hdf5":
            raise LawmError(
                f"{folder / METADATA} says that the data are stored as {metadata.data_format!r}; "
                "lawm reads Minari's hdf5. Write it anew with data_format='hdf5'."
            )
        if not is_hdf5(folder / DATA):
            raise LawmError(f"{folder / DATA} is missing or no HDF5 file. Copy it from its source.")
        with SafeHdf5(folder / DATA) as file:
            yield _Episodes(file, metadata, folder)


def _data_folder(source: Path) -> Path | None:
    """The folder of the two files, from it, its parent or the HDF5 file."""
    candidates = [source / "data", source] if source.is_dir() else [source.parent]
    if source.is_file() and source.name != DATA:
        return None
    return next((folder for folder in candidates if (folder / METADATA).is_file()), None)


class _Episodes(Source):
    def __init__(self, file: SafeHdf5, metadata: MinariMetadata, folder: Path) -> None:
        self._file = file
        self._episodes = [n for n in file.groups() if n.startswith("episode_")]
        if not self._episodes:
            raise LawmError(f"{file.path} has no groups episode_0, episode_1, ...")
        self._jpeg: set[str] = set()
        self._paths: dict[str, str] = {}
        fields: dict[str, ObservationField] = {}
        self.notes = []
        self._collect("observations", metadata.observation_space, fields, 0)
        self.observations = fields
        if metadata.total_episodes not in (None, len(self._episodes)):
            self.notes.append(
                f"the metadata speak of {metadata.total_episodes} episodes, the file holds "
                f"{len(self._episodes)}"
            )
        if self._jpeg:
            self.notes.append("images are decoded from JPEG, which has changed their pixels")
        low, high = metadata.action_space.bounds()
        self.facts = SourceFacts(
            files=(file.path, folder / METADATA),
            num_episodes=len(self._episodes),
            action_convention="taken_at",
            convention_reason="Minari records the action between two observations",
            env_name=metadata.env_name,
            action_low=low,
            action_high=high,
            left_out={"infos": "not an observation"}
            if file.has(f"{self._episodes[0]}/infos")
            else {},
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for episode in self._episodes:
            where = f"`/{episode}/actions` of {self._file.path}"
            if not self._file.is_dataset(f"{episode}/actions"):
                raise LawmError(
                    f"{where} is no array: the action space is a Dict or Tuple. lawm models one "
                    "vector of continuous actions."
                )
            action = self._file.dataset(f"{episode}/actions").read()
            ended = bool(self._flags(f"{episode}/terminations")[-1:].any())
            yield RawEpisode(
                num_rows=len(action) + 1,
                obs={key: self._observation(episode, key) for key in keys},
                action=action,
                reward=self._file.dataset(f"{episode}/rewards").read(),
                terminated=ended,
                truncated=not ended,
                source_id=f"{self._file.path.parent.parent.name}/{episode}",
            )

    def _flags(self, name: str) -> NDArray[np.bool_]:
        return as_flags(self._file.dataset(name).read(), f"`/{name}` of {self._file.path}")

    def _observation(self, episode: str, key: str) -> Any:  # noqa: ANN401
        dataset = self._file.dataset(f"{episode}/{self._paths[key]}")
        if key not in self._jpeg:
            return dataset.read()
        return decode_frames(dataset, self.observations[key].shape)

    def _collect(
        self, path: str, space: Space, fields: dict[str, ObservationField], depth: int
    ) -> None:
        """The leaves of the observation space, as the first episode has them."""
        where = f"{self._episodes[0]}/{path}"
        if depth > MAX_DEPTH:
            raise LawmError(f"`/{where}` of {self._file.path} is nested deeper than {MAX_DEPTH}.")
        if self._file.is_group(where):
            refuse_links(self._file, where)
            for name in (*self._file.groups(where), *self._file.datasets(where)):
                self._collect(f"{path}/{name}", space.child(name), fields, depth + 1)
            return
        dataset = self._file.dataset(where)
        words = [word.removeprefix("_index_") for word in path.split("/")[1:]]
        key = ".".join(words)
        shape, dtype = dataset.step_shape, dataset.dtype
        if holds_jpeg(dataset) and space.is_image_or_unknown():
            shape, dtype = space.shape or _first_shape(dataset), np.dtype(np.uint8)
        image = dtype == np.uint8 and len(shape) > 1
        name = "_".join(words) or ("image" if image else "state")
        key = key or "observations"
        self._paths[key] = path
        if holds_jpeg(dataset) and image:
            self._jpeg.add(key)
        fields[key] = ObservationField(shape, dtype, name)


def _first_shape(dataset: Any) -> tuple[int, ...]:  # noqa: ANN401
    frames = decode_frames(dataset, None, num=1)
    return tuple(frames.shape[1:])


IMPORTER = Minari()

__all__ = ["IMPORTER", "Minari"]
