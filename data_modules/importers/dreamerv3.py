"""The replay of DreamerV3: chunks of a stream of steps, which episodes cross.

A folder of ``{time}-{uuid}-{successor's uuid}-{length}.npz`` with one row an observation:

    image, or any other key         (L, ...)  observations
    action                          (L, A)    the action taken AT row t; zeros where is_last
    reward                          (L,)      received on ARRIVING at row t
    is_first, is_last, is_terminal  (L,) bool
    stepid, dyn/*, enc/*, dec/*     the replay's and the agent's own state; left out

Every parallel environment fills a stream of its own, chunk after chunk; the files of the streams
lie mixed in the folder and the uuids tell them apart. An episode without ``is_last`` was abandoned
or was still running. Releases of 2023 save chunks at their full size, with garbage behind the
length in the name, and save a running chunk again when it is longer.

Read from the code of danijar/dreamerv3 (embodied/core/replay.py, chunk.py, driver.py) and of its
release 1.5.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.episode_files import (
    Columns,
    RowNames,
    bounds_of_episodes,
    files_in,
    first_names,
    observation_fields,
    open_columns,
)
from lawm.data_modules.importers.importer import (
    Importer,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.errors import LawmError

CHUNK_NAME = re.compile(
    r"(?P<time>[^-]+)-(?P<uuid>\w+)-(?P<successor>\w+)-(?P<length>\d{1,9})\.npz"
)
FLAGS = ("is_first", "is_last", "is_terminal")
NAMES = RowNames(
    action="action",
    reward="reward",
    left_out={
        "reset": "whether the environment was reset",
        "stepid": "the replay's own",
        "id": "the replay's own",
        "consec": "the replay's own",
    },
)


def first_chunk(source: Path) -> Path | None:
    """The first file of a source that is called as DreamerV3 calls its chunks."""
    return next((f for f in files_in(source, (".npz",)) if CHUNK_NAME.fullmatch(f.name)), None)


@dataclass(frozen=True)
class _Chunk:
    """A file of a stream, by its name alone."""

    path: Path
    uuid: str
    successor: str
    length: int  # rows that hold steps


class DreamerV3(Importer):
    """See the module."""

    name = "dreamerv3"
    summary = "DreamerV3 replay: {time}-{uuid}-{successor}-{length}.npz"

    def recognises(self, source: Path) -> Recognition:
        """A file with the name of a chunk and ``is_first`` in it."""
        chunk = first_chunk(source)
        if chunk is None:
            return Recognition(False, "is or has no file called like a chunk of DreamerV3's")
        found, name = first_names(chunk, (".npz",))
        if "is_first" not in found:
            return Recognition(False, f"{chunk.name} has no is_first" if found else name)
        return Recognition(True, f"{name} is called like a chunk and holds is_first")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        files = files_in(source, (".npz",))
        if not files:
            raise LawmError(f"{source} holds no *.npz; expected the chunks of a replay.")
        yield _Replay(source, files)


class _Replay(Source):
    def __init__(self, source: Path, files: Sequence[Path]) -> None:
        self.notes, self._source = [], source
        self._streams = self._in_streams(source, files)
        chunks = [chunk for stream in self._streams for chunk in stream]
        with open_columns(chunks[0].path) as columns:
            self.observations = observation_fields(columns, NAMES)
            self._rows = [n for n in ("action", "reward", *FLAGS) if n in columns.names]
            left_out = {n: "the agent's own state" for n in columns.names if "/" in n}
        if "is_first" not in self._rows:
            raise LawmError(
                f"{chunks[0].path} has no array `is_first`, which tells where episodes begin. Copy "
                "the file again from its source."
            )
        if "action" not in self._rows:
            self.notes.append(f"{chunks[0].path.name} has no array `action`: no actions.")
        self.facts = SourceFacts(
            files=tuple(chunk.path for chunk in chunks),
            num_episodes=None,
            action_convention="taken_at",
            reward_convention="led_into",
            convention_reason="DreamerV3 stores with an observation the action chosen there and "
            "the reward received there",
            left_out=left_out,
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for stream in self._streams:
            yield from self._episodes_of(stream, keys)

    def _episodes_of(self, stream: list[_Chunk], keys: Sequence[str]) -> Iterator[RawEpisode]:
        running, number = _Running(self._source), 0
        for chunk in stream:
            rows = self._read(chunk, keys)
            bounds = bounds_of_episodes(chunk.length, rows["is_first"], rows.get("is_last"))
            for start, stop in bounds:
                # Row 0 of a chunk goes on with the episode before, unless it begins one
                if running.parts and (start > 0 or rows["is_first"][0] or running.has_ended):
                    yield running.episode(keys, f"{stream[0].uuid}/{number}")
                    running, number = _Running(self._source), number + 1
                if not running.parts and not rows["is_first"][start]:
                    self.notes.append(
                        f"{chunk.path.name} begins within an episode whose first rows are in no "
                        "file; it is kept from there on."
                    )
                running.add({name: values[start:stop] for name, values in rows.items()})
        if running.parts:
            if not running.has_ended:
                self.notes.append(
                    f"The last episode of the stream that begins with {stream[0].path.name} was "
                    "still running; it is kept as truncated."
                )
            yield running.episode(keys, f"{stream[0].uuid}/{number}")

    def _read(self, chunk: _Chunk, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The rows of a chunk that hold steps."""
        with open_columns(chunk.path) as columns:
            return {name: _steps(columns, chunk, name) for name in (*keys, *self._rows)}

    def _in_streams(self, source: Path, files: Sequence[Path]) -> list[list[_Chunk]]:
        """Chunks in the order of each stream, streams in the order of their first chunks."""
        chunks: dict[str, _Chunk] = {}
        for path in files:
            match = CHUNK_NAME.fullmatch(path.name)
            if match is None:
                raise LawmError(
                    f"{path} is not called {{time}}-{{uuid}}-{{successor}}-{{length}}.npz as the "
                    "other chunks of a DreamerV3 replay are. Take it out of the folder."
                )
            chunk = _Chunk(path, match["uuid"], match["successor"], int(match["length"]))
            known = chunks.get(chunk.uuid)
            if known is not None:
                self.notes.append(
                    f"Chunk {chunk.uuid} was saved more than once; the longest is taken."
                )
            if known is None or chunk.length > known.length:
                chunks[chunk.uuid] = chunk
        chunks = {uuid: chunk for uuid, chunk in chunks.items() if chunk.length}
        followers = {chunk.successor for chunk in chunks.values()}
        streams = []
        for head in chunks.values():
            if head.uuid in followers:
                continue
            stream = [head]
            while (follower := chunks.get(stream[-1].successor)) is not None:
                stream.append(follower)
            streams.append(stream)
        placed = [chunk.uuid for stream in streams for chunk in stream]
        if len(placed) != len(chunks) or len(set(placed)) != len(placed) or not placed:
            raise LawmError(
                f"The chunks in {source} do not follow each other in streams: their names tell of "
                f"{len(chunks)} chunks with steps, but {len(set(placed))} can be reached. Copy the "
                "folder again from its source."
            )
        return streams


@dataclass
class _Running:
    """An episode while its parts are read."""

    source: Path
    parts: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether its last row says so."""
        return bool(self.parts and "is_last" in self.parts[-1] and self.parts[-1]["is_last"][-1])

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        self.parts.append(rows)

    def episode(self, keys: Sequence[str], source_id: str) -> RawEpisode:
        """The parts as one; what they share with whole chunks is not kept alive."""
        rows = {name: self._joined(name, source_id) for name in self.parts[0]}
        terminated = bool("is_terminal" in rows and rows["is_terminal"][-1])
        return RawEpisode(
            num_rows=len(rows["is_first"]),
            obs={key: rows[key] for key in keys},
            action=rows.get("action"),
            reward=rows.get("reward"),
            terminated=terminated,
            truncated=not terminated,
            source_id=source_id,
        )

    def _joined(self, name: str, source_id: str) -> NDArray[Any]:
        kinds = {(str(part[name].dtype), part[name].shape[1:]) for part in self.parts}
        if len(kinds) > 1:
            raise LawmError(
                f"`{name}` of episode {source_id} in {self.source} changes from one chunk to the "
                f"next: {sorted(kinds)}; expected one type and shape in a replay."
            )
        return np.concatenate([part[name] for part in self.parts])


def _steps(columns: Columns, chunk: _Chunk, name: str) -> NDArray[Any]:
    if name in FLAGS:
        values = columns.flags(name, columns.header(name)[0][0] if columns.header(name)[0] else 0)
    else:
        values = columns.array(name)
    if values.ndim == 0 or len(values) < chunk.length:
        raise LawmError(
            f"`{name}` of {chunk.path} has shape {values.shape}; expected the {chunk.length} rows "
            "that the file's name tells of. Copy the file again from its source."
        )
    return values[: chunk.length]


IMPORTER = DreamerV3()

__all__ = ["IMPORTER", "DreamerV3", "first_chunk"]
