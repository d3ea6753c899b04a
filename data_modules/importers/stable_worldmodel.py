"""HDF5 of stable-worldmodel: every column a dataset over all episodes.

    <column>            (N, ...)  all episodes, one behind the other
    ep_len, ep_offset   (E,)      rows of each episode, and where they begin
    action              (N, A)    the action taken AT row t; its last row in an episode is none
    reward              (N,)      received on ARRIVING at row t
    terminated, truncated  (N,)   of row t

The recorder moves the actions, and only them, up by one row: the first action of an episode, taken
before its first row, ends up in its last one. The observation of the reset is not recorded.

Read from the code of stable-worldmodel 0.1.1 (data/formats/hdf5.py, world/world.py) and seen in
what it writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from lawm.data_modules.importers.recognition import has_keys, recognise_hdf5
from lawm.data_modules.safe_dataset import SafeDataset
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

INDEX = ("ep_len", "ep_offset")
LEFT_OUT = {
    "step_idx": "a counter",
    "id": "a random number of the episode",
    "render_time": "not seen by the agent",
}
ROWS = {*INDEX, "action", "reward", "terminated", "truncated", *LEFT_OUT}


class StableWorldModel(Importer):
    """See the module."""

    name = "stable-worldmodel"
    summary = "stable-worldmodel HDF5: columns with ep_len and ep_offset"

    def recognises(self, source: Path) -> Recognition:
        """``ep_len`` and ``ep_offset``."""
        return recognise_hdf5(source, lambda file: has_keys(file.datasets(), INDEX, "HDF5"))

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeHdf5(source) as file:
            yield _Table(file)


class _Table(Source):
    def __init__(self, file: SafeHdf5) -> None:
        self._columns = {name: file.dataset(name) for name in file.datasets() if name not in INDEX}
        self._length, self._offset = (_whole_numbers(file, name) for name in INDEX)
        num_rows = {name: len(column) for name, column in self._columns.items()}
        self._check_index(file.path, num_rows)
        self.observations = {
            name: ObservationField(column.step_shape, column.dtype, name, _why_not(name))
            for name, column in self._columns.items()
            if name not in ROWS and len(column)
        }
        self._stem, self.notes = file.path.stem, []
        self.facts = SourceFacts(
            files=(file.path,),
            num_episodes=len(self._length),
            action_convention="taken_at",
            reward_convention="led_into",
            convention_reason="stable-worldmodel moves each action to the row that it was taken "
            "at, and not the rewards",
            left_out={name: why for name, why in LEFT_OUT.items() if name in self._columns},
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        index = zip(self._offset.tolist(), self._length.tolist(), strict=True)
        for number, (start, length) in enumerate(index):
            rows = slice(start, start + length)
            terminated = self._flag("terminated", start + length - 1)
            yield RawEpisode(
                num_rows=length,
                obs={key: self._columns[key].read(rows.start, rows.stop) for key in keys},
                action=self._optional("action", rows),
                reward=self._optional("reward", rows),
                terminated=terminated,
                truncated=not terminated,
                source_id=f"{self._stem}/{number}",
            )

    def _optional(self, name: str, rows: slice) -> NDArray[Any] | None:
        column = self._columns.get(name)
        return None if column is None else column.read(rows.start, rows.stop)

    def _flag(self, name: str, row: int) -> bool:
        column: SafeDataset | None = self._columns.get(name)
        return column is not None and bool(column.read(row, row + 1).any())

    def _check_index(self, path: Path, num_rows: dict[str, int]) -> None:
        if not num_rows or len(set(num_rows.values())) != 1:
            raise LawmError(
                f"The columns of {path} have {num_rows or 'no'} rows; expected one or more, all "
                "with the same number."
            )
        (total,) = set(num_rows.values())
        if len(self._offset) != len(self._length) or not len(self._offset):
            raise LawmError(
                f"`/ep_len` of {path} has {len(self._length)} numbers and `/ep_offset` "
                f"{len(self._offset)}; expected one an episode in each, and one episode at least."
            )
        end = self._offset + self._length
        wrong = (self._length < 1) | (self._offset < 0) | (self._offset > total) | (end > total)
        wrong[1:] |= self._offset[1:] < end[:-1]
        if wrong.any():
            episode = int(wrong.argmax())
            raise LawmError(
                f"Episode {episode} of {path} has {self._length[episode]} rows from row "
                f"{self._offset[episode]} on, of {total} in all; expected rows in the file, behind "
                "those of the episode before. Its writer did not finish, or it is damaged."
            )


def _whole_numbers(file: SafeHdf5, name: str) -> NDArray[np.int64]:
    values = file.dataset(name).read()
    if values.ndim != 1 or values.dtype.kind not in "iu" or (values > 2**62).any():
        raise LawmError(
            f"`/{name}` of {file.path} has type {values.dtype} and shape {values.shape}; expected "
            "a whole number for each episode."
        )
    return values.astype(np.int64)


def _why_not(name: str) -> str:
    if name.split(".")[0].split("_")[0] in ("goal", "variation"):
        return "a goal or a property of the environment, the same in every row"
    return ""


IMPORTER = StableWorldModel()

__all__ = ["IMPORTER", "StableWorldModel"]
