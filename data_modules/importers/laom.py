"""LAOM's HDF5 (Nikulin et al., 2025): dm_control with distractors, a group for each trajectory.

    /<n>/obs      (T, 64, 64, 3) uint8
    /<n>/states   (T, S) float32
    /<n>/actions  (T, A) float32  the action taken at each observation

There is no reward per step, only the return of each trajectory, and no observation after the last
action. The attributes of the file name domain and task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.importers.recognition import recognise_hdf5, refuse_links
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

NAMES = {"obs": "image", "states": "state"}


class Laom(Importer):
    """See the module."""

    name = "laom"
    summary = "HDF5: groups 0, 1, ... of obs, states, actions"

    def recognises(self, source: Path) -> Recognition:
        """An HDF5 file of numbered groups with ``obs`` and ``actions``."""
        return recognise_hdf5(source, _judge)

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeHdf5(source) as file:
            yield _Groups(file)


def _numbered(file: SafeHdf5) -> list[str]:
    return [name for name in file.groups() if name.isdecimal() and name.isascii()]


def _judge(file: SafeHdf5) -> Recognition:
    groups = _numbered(file)
    if not groups:
        return Recognition(False, "has no groups called 0, 1, ...")
    found = file.datasets(groups[0])
    if {"obs", "actions"} <= set(found):
        return Recognition(True, f"an HDF5 file of numbered groups with {', '.join(found)}")
    return Recognition(False, f"its group {groups[0]} has no obs and actions")


class _Groups(Source):
    def __init__(self, file: SafeHdf5) -> None:
        self._file, self._groups = file, _numbered(file)
        if not self._groups:
            raise LawmError(f"{file.path} has no groups called 0, 1, ..., as LAOM's files have.")
        first = self._groups[0]
        refuse_links(file, first)
        found = {name: file.dataset(f"{first}/{name}") for name in file.datasets(first)}
        self.observations = {
            name: ObservationField(found[name].step_shape, found[name].dtype, NAMES[name])
            for name in NAMES
            if name in found
        }
        self._has_actions = "actions" in found
        env_name = " ".join(
            str(value)
            for name in ("domain_name", "task_name", "difficulty")
            if (value := file.attribute(name)) is not None
        )
        others = [name for name in found if name not in (*NAMES, "actions")]
        self.facts = SourceFacts(
            files=(file.path,),
            num_episodes=len(self._groups),
            action_convention="taken_at",
            convention_reason="LAOM records the action chosen at each observation",
            env_name=env_name,
            left_out=dict.fromkeys(others, "neither observation nor action"),
        )
        self.notes = ["no reward per step, only the return of each trajectory, which is left out"]

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for group in self._groups:
            arrays = {key: self._file.dataset(f"{group}/{key}") for key in self.observations}
            obs = {key: arrays[key].read() for key in keys}
            action = self._file.dataset(f"{group}/actions").read() if self._has_actions else None
            yield RawEpisode(
                num_rows=len(next(iter(arrays.values()))),
                obs=obs,
                action=action,
                reward=None,
                terminated=False,
                truncated=True,
                source_id=f"{self._file.path.stem}/{group}",
            )


IMPORTER = Laom()

__all__ = ["IMPORTER", "Laom"]
