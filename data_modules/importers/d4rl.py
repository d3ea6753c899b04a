"""D4RL's HDF5: flat arrays of N rows, episodes one after the other.

    observations       (N, D)
    actions            (N, A)  the action taken at each observation
    rewards            (N,)    of that transition
    terminals          (N,)    the transition ended the task
    timeouts           (N,)    the episode was cut after it; missing in old files
    next_observations  (N, D)  where each transition led; in newer files

An episode ends where either flag is set. Without ``next_observations`` the outcome of its last
transition is not in the file: that transition is dropped, and with it a terminal state. The files
are cut to a round size, so that the last episode is often incomplete: it is kept, as truncated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from lawm.data_modules.importers.recognition import has_keys, recognise_hdf5, refuse_links
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

NEEDED = ("observations", "actions", "terminals")
FLAT = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
CHECKED_BYTES = 16 << 20  # of observations, for episodes that run on where they were cut


class D4rl(Importer):
    """See the module."""

    name = "d4rl"
    summary = "HDF5: observations, actions, rewards, terminals, timeouts"
    options = frozenset({"max_episode_steps"})

    def recognises(self, source: Path) -> Recognition:
        """An HDF5 file with the flat arrays at its root."""
        return recognise_hdf5(source, lambda f: has_keys(f.datasets(), NEEDED, "an HDF5 file"))

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeHdf5(source) as file:
            yield _Flat(file, options.max_episode_steps)


class _Flat(Source):
    def __init__(self, file: SafeHdf5, max_episode_steps: int) -> None:
        refuse_links(file, "")
        self._file, self._path = file, file.path
        found = [name for name in file.datasets() if name in FLAT]
        self._arrays = {name: file.dataset(name) for name in found}
        self._check_shapes()
        observations = self._arrays["observations"]
        self.observations = {
            "observations": ObservationField(observations.step_shape, observations.dtype, "state")
        }
        self._terminal = self._flags("terminals")
        ends = self._ends(max_episode_steps)
        self._bounds = np.concatenate([[0], ends + 1])
        self.notes = []
        self._tell_what_is_lost(ends)
        self._tell_of_jumps()
        others = [n for n in (*file.datasets(), *file.groups()) if n not in FLAT]
        self.facts = SourceFacts(
            files=(self._path,),
            num_episodes=len(ends),
            action_convention="taken_at",
            convention_reason="D4RL records the action chosen at each observation",
            left_out=dict.fromkeys(others, "neither observation, action, reward nor flag"),
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        arrays, final = self._arrays, "next_observations" in self._arrays
        for episode, (start, stop) in enumerate(
            zip(self._bounds[:-1].tolist(), self._bounds[1:].tolist(), strict=True)
        ):
            obs = {key: arrays[key].read(start, stop) for key in keys}
            if final and keys:
                last = arrays["next_observations"].read(stop - 1, stop)
                obs = {key: np.concatenate([rows, last]) for key, rows in obs.items()}
            ended = final and bool(self._terminal[stop - 1])
            yield RawEpisode(
                num_rows=stop - start + final,
                obs=obs,
                action=arrays["actions"].read(start, stop),
                reward=arrays["rewards"].read(start, stop) if "rewards" in arrays else None,
                terminated=ended,
                truncated=not ended,
                source_id=f"{self._path.stem}/{episode}",
            )

    def _check_shapes(self) -> None:
        wrong = [name for name in FLAT if name not in self._arrays and self._file.has(name)]
        if wrong:
            raise LawmError(f"`/{wrong[0]}` of {self._path} is a group; expected an array.")
        missing = [name for name in NEEDED if name not in self._arrays]
        if missing:
            raise LawmError(
                f"{self._path} has no {', '.join(missing)}; a D4RL file has {', '.join(NEEDED)}."
            )
        num = len(self._arrays["observations"])
        lengths = {name: len(array) for name, array in self._arrays.items()}
        if set(lengths.values()) != {num} or num < 1:
            raise LawmError(
                f"The arrays of {self._path} have {lengths} rows; expected the same number of "
                "each, and at least one."
            )
        following = self._arrays.get("next_observations")
        rows = self._arrays["observations"]
        if following is not None and (following.shape, following.dtype) != (rows.shape, rows.dtype):
            raise LawmError(
                f"`/next_observations` of {self._path} has type {following.dtype} and shape "
                f"{following.shape}; expected those of `/observations`, {rows.dtype} and "
                f"{rows.shape}."
            )

    def _flags(self, name: str) -> NDArray[np.bool_]:
        """(N,) from (N,) or (N, 1) of whatever kind of number."""
        return as_flags(self._arrays[name].read(), self._arrays[name].where)

    def _ends(self, max_episode_steps: int) -> NDArray[np.int64]:
        """The last row of each episode."""
        num = len(self._terminal)
        ends = self._terminal.copy()
        if "timeouts" in self._arrays:
            ends |= self._flags("timeouts")
        elif not max_episode_steps:
            raise LawmError(
                f"{self._path} has no `timeouts`, as D4RL's files of version 0, so it does not say "
                "where episodes were cut. Say it with --max-episode-steps (1000 in MuJoCo tasks)."
            )
        ends[-1] = True
        if not max_episode_steps:
            return np.flatnonzero(ends)
        stops = np.flatnonzero(ends)
        starts = np.concatenate([[0], stops[:-1] + 1])
        cut = [
            np.append(np.arange(start + max_episode_steps - 1, stop, max_episode_steps), stop)
            for start, stop in zip(starts, stops, strict=True)
        ]
        return np.concatenate(cut) if num else stops

    def _tell_what_is_lost(self, ends: NDArray[np.int64]) -> None:
        if "next_observations" not in self._arrays and self._terminal.any():
            self.notes.append(
                f"{int(self._terminal[ends].sum())} of {len(ends)} episodes end in a terminal "
                "state that is not in the file, as it has no next_observations: they are imported "
                "as truncated one transition earlier"
            )
        timeouts = "timeouts" in self._arrays and bool(self._flags("timeouts")[-1])
        if not self._terminal[-1] and not timeouts:
            length = int(ends[-1] - (ends[-2] if len(ends) > 1 else -1))
            self.notes.append(
                f"the last episode of {length} rows has no end in the file and is kept as truncated"
            )

    def _tell_of_jumps(self) -> None:
        """A next observation that is not the following row's means that an episode was not cut."""
        observations = self._arrays["observations"]
        if "next_observations" not in self._arrays or observations.dtype.kind not in "fiub":
            return
        row_bytes = observations.dtype.itemsize * math.prod(observations.step_shape)
        stop = min(len(self._terminal), CHECKED_BYTES // max(1, row_bytes))
        if stop < 2:
            return
        following = self._arrays["next_observations"].read(0, stop - 1)
        rows = observations.read(1, stop)
        same = np.isclose(following, rows, rtol=1e-4, atol=1e-4, equal_nan=True)
        jumps = ~same.reshape(len(rows), -1).all(axis=1)
        jumps[self._bounds[(self._bounds > 0) & (self._bounds < stop)] - 1] = False
        if jumps.any():
            self.notes.append(
                f"in {int(jumps.sum())} of the first {stop} rows, the first of them row "
                f"{int(jumps.argmax())}, next_observations is not the observation of the following "
                "row, though no flag ends the episode there: it jumps. --max-episode-steps may say "
                "where episodes were cut"
            )


IMPORTER = D4rl()

__all__ = ["IMPORTER", "D4rl"]
