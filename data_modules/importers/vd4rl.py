"""V-D4RL at 84 pixels: HDF5 with all episodes of a shard one behind the other.

A folder of ``*.hdf5``, or one of them:

    observation  (N, 3, 84, 84) uint8  channels first
    action       (N, A) float          the action that LED INTO row t; a dummy where step_type is 0
    reward       (N,) float            received on arriving at row t
    discount     (N,) float            0 at a terminal state
    step_type    (N,) number           0 first, 1 in between, 2 last

Read from the code of conglu1997/v-d4rl (conversion_scripts/, drqbc/numpy_replay_buffer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.episode_files import (
    HDF5_SUFFIXES,
    bounds_of_episodes,
    files_in,
    first_names,
)
from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.safe_dataset import SafeDataset
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

FIRST, LAST = 0, 2
DATASETS = ("observation", "action", "reward", "discount", "step_type")


class VD4RL(Importer):
    """See the module."""

    name = "v-d4rl"
    summary = "V-D4RL at 84 px: HDF5 with observation (N, 3, 84, 84) and step_type"

    def recognises(self, source: Path) -> Recognition:
        """``observation``, ``action`` and ``step_type`` in the first file."""
        found, name = first_names(source, HDF5_SUFFIXES)
        if not found:
            return Recognition(False, name)
        if {"observation", "action", "step_type"} <= found:
            return Recognition(True, f"{name} holds observation, action and step_type")
        return Recognition(False, f"{name} lacks observation, action or step_type")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        files = files_in(source, HDF5_SUFFIXES)
        if not files:
            raise LawmError(f"{source} holds no *.hdf5; expected the shards of V-D4RL.")
        yield _Shards(files)


@dataclass(frozen=True, eq=False)
class _Shard:
    """The datasets of one file, and where its episodes lie."""

    datasets: dict[str, SafeDataset]
    bounds: list[tuple[int, int]]


class _Shards(Source):
    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self.notes = files, []
        num_episodes = 0
        for path in files:
            with SafeHdf5(path) as file:
                num_episodes += len(self._shard(file).bounds)
        with SafeHdf5(files[0]) as file:
            pictures = file.dataset("observation")
            self.observations = {
                "observation": ObservationField(pictures.step_shape, pictures.dtype, "image")
            }
            others = sorted(set(file.datasets()) - set(DATASETS))
        self.facts = SourceFacts(
            files=tuple(files),
            num_episodes=num_episodes,
            action_convention="led_into",
            convention_reason="V-D4RL stores an action with the observation it led to",
            left_out=dict.fromkeys(others, "not one of V-D4RL's"),
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for path in self._files:
            with SafeHdf5(path) as file:
                shard = self._shard(file)
                for number, (start, stop) in enumerate(shard.bounds):
                    part = {
                        name: shard.datasets[name].read(start, stop)
                        for name in (*keys, "action", "reward")
                        if name in shard.datasets
                    }
                    terminated = self._is_terminal(shard, stop - 1)
                    yield RawEpisode(
                        num_rows=stop - start,
                        obs={key: part[key] for key in keys},
                        action=part["action"],
                        reward=part.get("reward"),
                        terminated=terminated,
                        truncated=not terminated,
                        source_id=f"{path.stem}/{number}",
                    )

    def _shard(self, file: SafeHdf5) -> _Shard:
        """Check one file and find its episodes."""
        needed = [n for n in ("reward", "discount") if file.has(n)]
        datasets = {n: file.dataset(n) for n in ("observation", "action", "step_type", *needed)}
        rows = {name: len(dataset) for name, dataset in datasets.items()}
        if len(set(rows.values())) != 1 or not rows["action"]:
            raise LawmError(
                f"The datasets of {file.path} have {rows} rows; expected the same number in each."
            )
        step_type = datasets["step_type"].read()
        if step_type.ndim != 1 or not np.isin(step_type, (FIRST, 1, LAST)).all():
            raise LawmError(
                f"`/step_type` of {file.path} has type {step_type.dtype}, shape {step_type.shape} "
                "and values other than 0 (first), 1 and 2 (last). It is damaged or not V-D4RL's."
            )
        if step_type[0] != FIRST:
            self.notes.append(
                f"{file.path.name} begins within an episode (step_type {step_type[0]:g}); it is "
                "kept from there on."
            )
        bounds = bounds_of_episodes(len(step_type), step_type == FIRST, step_type == LAST)
        return _Shard(datasets, bounds)

    @staticmethod
    def _is_terminal(shard: _Shard, row: int) -> bool:
        if "discount" not in shard.datasets:
            return False
        discount: NDArray[Any] = shard.datasets["discount"].read(row, row + 1)
        return bool((discount == 0.0).all())


IMPORTER = VD4RL()

__all__ = ["IMPORTER", "VD4RL"]
