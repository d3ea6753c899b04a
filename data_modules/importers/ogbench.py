"""OGBench's npz: flat arrays of N rows, trajectories one after the other.

    observations  (N, D) float32 or (N, H, W, C) uint8
    actions       (N, A)  the action taken at each observation
    terminals     (N,)    true at the last observation of each trajectory; no environment's terminal
    qpos, qvel, button_states ...  (N, ...) simulator state; imported when asked for

There are no rewards, and the action of the last row is unused. All trajectories are truncated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

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
from lawm.data_modules.importers.recognition import has_keys, recognise_npz
from lawm.data_modules.safe_npz import SafeNpz
from lawm.errors import LawmError

NEEDED = ("observations", "actions", "terminals")
NO_STATE = ("actions", "terminals", "rewards", "masks", "next_observations")


class OgBench(Importer):
    """See the module."""

    name = "ogbench"
    summary = "npz: observations, actions, terminals"

    def recognises(self, source: Path) -> Recognition:
        """An archive with the three arrays, and without D4RL's ``timeouts``."""
        return recognise_npz(source, _judge)

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        with SafeNpz(source) as archive:
            yield _Flat(archive)


def _judge(archive: SafeNpz) -> Recognition:
    if "timeouts" in archive:
        return Recognition(False, "has `timeouts`, which OGBench's archives do not")
    return has_keys(archive.names, NEEDED, "an archive")


class _Flat(Source):
    def __init__(self, archive: SafeNpz) -> None:
        self._archive = archive
        missing = [name for name in NEEDED if name not in archive]
        if missing:
            raise LawmError(
                f"{archive.path} has no {', '.join(missing)}; OGBench's have {', '.join(NEEDED)}."
            )
        headers = {name: archive.header(name) for name in archive.names}
        num = headers["observations"][0][:1]
        self.observations = {
            name: ObservationField(
                shape[1:],
                dtype,
                _shard_name(name, dtype),
                "" if name == "observations" else f"simulator state; --keys {name} imports it",
            )
            for name, (shape, dtype) in headers.items()
            if name not in NO_STATE and shape[:1] == num and dtype.kind in "fiub"
        }
        self._rewards = "rewards" in headers
        for name in ("actions", "terminals", *(["rewards"] if self._rewards else [])):
            if headers[name][0][:1] != num or not num:
                raise LawmError(
                    f"`{name}` of {archive.path} has shape {headers[name][0]} beside observations "
                    f"of shape {headers['observations'][0]}; expected as many rows."
                )
        ends = np.flatnonzero(
            as_flags(archive.array("terminals"), f"`terminals` of {archive.path}")
        )
        self.notes = []
        if num[0] and (not len(ends) or ends[-1] != num[0] - 1):
            ends = np.append(ends, num[0] - 1)
            self.notes.append("the last trajectory has no end in the file and is kept as truncated")
        self._lengths = np.diff(ends, prepend=-1).tolist()
        others = [n for n in headers if n not in self.observations and n not in NO_STATE[:3]]
        self.facts = SourceFacts(
            files=(archive.path,),
            num_episodes=len(ends),
            action_convention="taken_at",
            convention_reason="OGBench records the action chosen at each observation",
            left_out=dict.fromkeys(others, "no array of OGBench's that says more of a trajectory"),
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        names = [*keys, "actions", *(["rewards"] if self._rewards else [])]
        with ExitStack() as stack:
            rows = {name: stack.enter_context(self._archive.rows(name)) for name in names}
            for episode, length in enumerate(self._lengths):
                part = {name: array.read(length) for name, array in rows.items()}
                yield RawEpisode(
                    num_rows=length,
                    obs={key: part[key] for key in keys},
                    action=part["actions"],
                    reward=part.get("rewards"),
                    terminated=False,
                    truncated=True,
                    source_id=f"{self._archive.path.stem}/{episode}",
                )


def _shard_name(name: str, dtype: np.dtype[np.generic]) -> str:
    if name != "observations":
        return name
    return "image" if dtype == np.uint8 else "state"


IMPORTER = OgBench()

__all__ = ["IMPORTER", "OgBench"]
