"""robomimic's HDF5: a group for each demonstration.

    data                     attribute env_args: JSON with the environment and its settings
    data/demo_<i>/actions    (T, A)  the action taken at each observation
    data/demo_<i>/rewards    (T,)
    data/demo_<i>/dones      (T,)
    data/demo_<i>/obs/<key>       (T, ...)
    data/demo_<i>/next_obs/<key>  (T, ...)  where each action led; often left out to save space
    data/demo_<i>/states     (T, S)  simulator state; imported when asked for
    mask/<filter>            names of demonstrations, such as train and valid; for --filter

With ``next_obs`` nothing is lost, and ``dones`` tells of terminal states as it does to robomimic's
own agents. Without it the last action of each demonstration, often the only rewarded one, has no
outcome and is dropped. A file without observations gives the simulator states instead.
"""

from __future__ import annotations

import json
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
from lawm.data_modules.importers.recognition import recognise_hdf5, refuse_links
from lawm.data_modules.safe_hdf5 import SafeHdf5, natural_order
from lawm.errors import LawmError

STATES = "states"


class Robomimic(Importer):
    """See the module."""

    name = "robomimic"
    summary = "HDF5: data/demo_0, data/demo_1, ... of obs, actions"
    options = frozenset({"filter"})

    def recognises(self, source: Path) -> Recognition:
        """An HDF5 file with groups ``data/demo_...`` that hold actions."""
        return recognise_hdf5(source, _judge)

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeHdf5(source) as file:
            yield _Demos(file, options.filter)


def _judge(file: SafeHdf5) -> Recognition:
    demos = file.groups("data") if file.is_group("data") else []
    if not demos:
        return Recognition(False, "has no groups data/demo_0, data/demo_1, ...")
    if file.is_dataset(f"data/{demos[0]}/actions"):
        return Recognition(True, f"an HDF5 file with data/{demos[0]}/actions")
    return Recognition(False, f"its group data/{demos[0]} has no actions")


class _Demos(Source):
    def __init__(self, file: SafeHdf5, mask: str) -> None:
        self._file = file
        self.notes = []
        self._demos = self._chosen(mask)
        first = f"data/{self._demos[0]}"
        refuse_links(file, first, f"{first}/obs", f"{first}/next_obs")
        keys = file.datasets(f"{first}/obs") if file.is_group(f"{first}/obs") else []
        following = f"{first}/next_obs"
        # Only if every key goes on can all of them have the final observation
        self._has_next = bool(keys) and all(file.is_dataset(f"{following}/{key}") for key in keys)
        self.observations = {key: self._field(f"{first}/obs/{key}", key) for key in keys}
        if file.is_dataset(f"{first}/{STATES}") and not self._has_next:
            why = "simulator state; --keys states imports it" if keys else ""
            self.observations[STATES] = self._field(f"{first}/{STATES}", STATES, why)
        known = ("actions", "rewards", "dones", *self.observations)
        others = [name for name in file.datasets(first) if name not in known]
        settings = self._settings()
        kwargs = settings.get("env_kwargs")
        frequency = kwargs.get("control_freq") if isinstance(kwargs, dict) else None
        is_number = isinstance(frequency, int | float) and frequency > 0
        self.facts = SourceFacts(
            files=(file.path,),
            num_episodes=len(self._demos),
            action_convention="taken_at",
            convention_reason="robomimic records the action chosen at each observation",
            env_name=str(settings.get("env_name", "")),
            control_timestep=1.0 / float(frequency) if is_number and frequency else 0.0,
            left_out=dict.fromkeys(others, "neither observation, action nor reward"),
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        for demo in self._demos:
            group = f"data/{demo}"
            actions = self._file.dataset(f"{group}/actions")
            done = self._has_next and self._is_done(f"{group}/dones")
            yield RawEpisode(
                num_rows=len(actions) + self._has_next,
                obs={key: self._observation(group, key) for key in keys},
                action=actions.read(),
                reward=self._optional(f"{group}/rewards"),
                terminated=done,
                truncated=not done,
                source_id=f"{self._file.path.stem}/{demo}",
            )

    def _observation(self, group: str, key: str) -> NDArray[Any]:
        if key == STATES and not self._file.has(f"{group}/obs/{key}"):
            return self._file.dataset(f"{group}/{STATES}").read()
        rows = self._file.dataset(f"{group}/obs/{key}").read()
        if not self._has_next:
            return rows
        following = self._file.dataset(f"{group}/next_obs/{key}")
        if (following.shape, following.dtype) != (rows.shape, rows.dtype):
            raise LawmError(
                f"{following.where} has type {following.dtype} and shape {following.shape}; "
                f"expected those of `/{group}/obs/{key}`, {rows.dtype} and {rows.shape}."
            )
        return np.concatenate([rows, following.read(len(following) - 1)])

    def _optional(self, name: str) -> NDArray[Any] | None:
        return self._file.dataset(name).read() if self._file.is_dataset(name) else None

    def _is_done(self, name: str) -> bool:
        """Whether the last transition ended the task."""
        values = self._optional(name)
        if values is None:
            return False
        return bool(as_flags(values, f"`/{name}` of {self._file.path}")[-1:].any())

    def _field(self, name: str, key: str, left_out: str = "") -> ObservationField:
        dataset = self._file.dataset(name)
        return ObservationField(dataset.step_shape, dataset.dtype, key, left_out)

    def _chosen(self, mask: str) -> list[str]:
        """The demonstrations of a filter, or all; in natural order."""
        file, path = self._file, self._file.path
        demos = file.groups("data") if file.is_group("data") else []
        filters = file.datasets("mask") if file.is_group("mask") else []
        if not demos:
            raise LawmError(f"{path} has no groups data/demo_0, data/demo_1, ...")
        if not mask:
            if filters:
                self.notes.append(
                    f"all of its filters at once; --filter takes {', '.join(filters)}"
                )
            return demos
        if mask not in filters:
            raise LawmError(
                f"--filter asks for {mask!r}, which {path} does not have; its filters are "
                f"{', '.join(filters) or 'none'}."
            )
        chosen = set(file.dataset(f"mask/{mask}").texts())
        unknown = natural_order([name for name in chosen if name not in demos])
        if unknown or not chosen:
            raise LawmError(
                f"`/mask/{mask}` of {path} names {', '.join(unknown[:5]) or 'no demonstration'}; "
                "expected names of groups in /data."
            )
        return [name for name in demos if name in chosen]

    def _settings(self) -> dict[str, Any]:
        text = self._file.attribute("env_args", "data")
        try:
            settings = json.loads(text) if isinstance(text, str) else {}
        except (ValueError, RecursionError):
            settings = {}
        return settings if isinstance(settings, dict) else {}


IMPORTER = Robomimic()

__all__ = ["IMPORTER", "Robomimic"]
