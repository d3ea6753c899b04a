"""Episodes of which each is a file of arrays with one row an observation, npz or HDF5.

DreamerV2 and ExORL keep their replay like this and AIME its trajectories: arrays of R rows, of
which one is the action, one the reward, some are flags and the others observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import (
    ObservationField,
    RawEpisode,
    Source,
    SourceFacts,
)
from lawm.data_modules.safe_hdf5 import SafeHdf5, is_hdf5, natural_order
from lawm.data_modules.safe_npz import SafeNpz, is_zip
from lawm.errors import LawmError

HDF5_SUFFIXES = (".hdf5", ".h5")
FLAGS = ("is_first", "is_last", "is_terminal", "discount")


class Columns:
    """The arrays of an open file, whichever of the two kinds it is.

    Args:
        file: The open file.
    """

    def __init__(self, file: SafeNpz | SafeHdf5) -> None:
        self._file = file
        self.path = file.path
        self.names = file.names if isinstance(file, SafeNpz) else file.datasets()

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of an array; it is not read.

        Raises:
            LawmError: There is none of this name, or it is damaged.
        """
        if isinstance(self._file, SafeNpz):
            return self._file.header(name)
        dataset = self._file.dataset(name)
        return dataset.shape, dataset.dtype

    def array(self, name: str) -> NDArray[Any]:
        """A whole array.

        Raises:
            LawmError: There is none of this name, or it is damaged.
        """
        if isinstance(self._file, SafeNpz):
            return self._file.array(name)
        return self._file.dataset(name).read()

    def flags(self, name: str, num_rows: int) -> NDArray[Any]:
        """(R,) numbers, from an array (R,) or (R, 1).

        Raises:
            LawmError: It is something else.
        """
        values = self.array(name)
        if values.size != num_rows or values.dtype.kind not in "fiub":
            raise LawmError(
                f"`{name}` of {self.path} has type {values.dtype} and shape {values.shape}; "
                f"expected a number for each of its {num_rows} rows."
            )
        return values.reshape(-1)


@contextmanager
def open_columns(path: Path) -> Iterator[Columns]:
    """Open an npz or HDF5 file.

    Raises:
        LawmError: It is neither.
    """
    with SafeHdf5(path) if is_hdf5(path) else SafeNpz(path) as file:
        yield Columns(file)


def files_in(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """The source itself, or the files in it with one of the suffixes, numbers in natural order."""
    if not source.is_dir():
        return [source]
    try:
        found = {f.name: f for f in source.iterdir() if f.suffix in suffixes and f.is_file()}
    except OSError as error:
        raise LawmError(f"The folder {source} cannot be read: {error}.") from error
    return [found[name] for name in natural_order(list(found))]


def first_names(source: Path, suffixes: Sequence[str]) -> tuple[set[str], str]:
    """The names of the arrays in the first file of a source, and what it is called; cheap.

    Returns:
        No names where there is no such file, with the reason.

    Raises:
        LawmError: It is an archive or an HDF5 file and damaged.
    """
    files = [f for f in files_in(source, suffixes) if f.suffix in suffixes]
    if not files:
        return set(), f"is or has no file *{' or *'.join(suffixes)}"
    if not is_zip(files[0]) and not is_hdf5(files[0]):
        return set(), f"{files[0].name} is neither a numpy archive nor an HDF5 file"
    with open_columns(files[0]) as columns:
        return set(columns.names), files[0].name


@dataclass(frozen=True)
class RowNames:
    """What the arrays of a format are called; those that are not named here are observations."""

    action: str
    reward: str
    physics: str = ""
    shard_names: Mapping[str, str] = field(default_factory=dict)  # of observations
    left_out: Mapping[str, str] = field(default_factory=dict)  # arrays, and why not

    @property
    def not_observations(self) -> set[str]:
        """All that have another meaning."""
        return {self.action, self.reward, self.physics, *FLAGS, *self.left_out} - {""}


def observation_fields(columns: Columns, names: RowNames) -> dict[str, ObservationField]:
    """The arrays of a file that may be observations.

    Raises:
        LawmError: The file is damaged.
    """
    fields: dict[str, ObservationField] = {}
    for key in columns.names:
        if key in names.not_observations or "/" in key:
            continue
        shape, dtype = columns.header(key)
        if shape:
            reason = "a log, not seen by the agent" if key.startswith("log_") else ""
            name = names.shard_names.get(key, key)
            fields[key] = ObservationField(shape[1:], dtype, name, reason)
    return fields


def bounds_of_episodes(
    num_rows: int, is_first: NDArray[Any] | None, is_last: NDArray[Any] | None
) -> list[tuple[int, int]]:
    """First and one past the last row of each episode, where an array holds several.

    Args:
        num_rows: R of the array.
        is_first: (R,) rows that begin an episode; None where not marked.
        is_last: (R,) rows that end one; None where not marked.
    """
    begins = np.zeros(num_rows, np.bool_)
    begins[:1] = True
    if is_first is not None:
        begins |= is_first.astype(np.bool_)
    if is_last is not None:
        begins[1:] |= is_last[:-1].astype(np.bool_)
    starts = np.flatnonzero(begins)
    return list(zip(starts.tolist(), [*starts[1:].tolist(), num_rows], strict=True))


class EpisodeFiles(Source):
    """The episodes of such files, one file in memory at a time.

    Args:
        files: In the order of the episodes.
        names: What the arrays are called.
        facts: What the format says.

    Raises:
        LawmError: The first file is damaged or lacks what the format must have.
    """

    def __init__(self, files: Sequence[Path], names: RowNames, facts: SourceFacts) -> None:
        self._files, self._names = files, names
        self.facts, self.notes = facts, []
        with open_columns(files[0]) as columns:
            self.observations = observation_fields(columns, names)
            optional = {names.reward, names.physics} - {""}
            self._optional = optional & set(columns.names)
            self._absent = optional - self._optional
            _refuse_missing(columns, [names.action])

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for path in self._files:
            with open_columns(path) as columns:
                _refuse_missing(columns, [self._names.action, *keys, *self._optional])
                self._refuse_added(columns)
                arrays = {name: columns.array(name) for name in keys}
                action = columns.array(self._names.action)
                extra = {name: columns.array(name) for name in self._optional}
                self._check_rows(path, {self._names.action: action, **arrays, **extra})
                present = set(columns.names) & set(FLAGS)
                flags = {name: columns.flags(name, len(action)) for name in present}
            bounds = bounds_of_episodes(len(action), flags.get("is_first"), flags.get("is_last"))
            for number, (start, stop) in enumerate(bounds):
                reward = extra.get(self._names.reward)
                physics = extra.get(self._names.physics)
                terminated = _is_terminal(flags, stop - 1)
                yield self.relabelled(
                    RawEpisode(
                        num_rows=stop - start,
                        obs={key: arrays[key][start:stop] for key in keys},
                        action=action[start:stop],
                        reward=None if reward is None else reward[start:stop],
                        terminated=terminated,
                        truncated=not terminated,
                        source_id=path.stem if len(bounds) == 1 else f"{path.stem}/{number}",
                        physics=None if physics is None else physics[start:stop],
                    )
                )

    def relabelled(self, episode: RawEpisode) -> RawEpisode:
        """The episode with the rewards that the user asked for; those of the file by default."""
        return episode

    def _refuse_added(self, columns: Columns) -> None:
        """What the first file lacks would be left out of all others without a word."""
        if added := sorted(self._absent & set(columns.names)):
            raise LawmError(
                f"{columns.path} has the array `{added[0]}`, which {self._files[0].name} lacks. "
                "All files of a source must have the same arrays: import those with it and those "
                "without it apart, and merge the two with `lawm data merge`."
            )

    def _check_rows(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        shapes = {name: values.shape for name, values in arrays.items()}
        if not all(shapes.values()) or len({shape[0] for shape in shapes.values()}) != 1:
            raise LawmError(
                f"The arrays of {path} have the shapes {shapes}; expected the same number of rows "
                "in each. Copy the file again from its source."
            )
        if not len(arrays[self._names.action]):
            raise LawmError(f"{path} holds no rows. Take it out of the folder.")


def _refuse_missing(columns: Columns, names: Sequence[str]) -> None:
    missing = sorted(set(names) - set(columns.names))
    if missing:
        raise LawmError(
            f"{columns.path} has no array `{missing[0]}`; its arrays are "
            f"{', '.join(sorted(columns.names)) or 'none'}. All files of a source must have the "
            "same arrays."
        )


def _is_terminal(flags: Mapping[str, NDArray[Any]], row: int) -> bool:
    """Without `is_terminal`, as in older files, a discount of zero says it."""
    if "is_terminal" in flags:
        return bool(flags["is_terminal"][row])
    return "discount" in flags and bool(flags["discount"][row] == 0.0)


__all__ = [
    "FLAGS",
    "HDF5_SUFFIXES",
    "Columns",
    "EpisodeFiles",
    "RowNames",
    "bounds_of_episodes",
    "files_in",
    "first_names",
    "observation_fields",
    "open_columns",
]
