"""The trajectories of AIME: HDF5 files in version 2, numpy archives in version 1.

A folder of ``{i}.hdf5`` or ``{i}.npz``, a trajectory each, R rows with one row an observation:

    image and proprioceptive keys   (R, ...)        observations; images (R, H, W, 3) uint8
    pre_action                      (R, A)          the action that LED INTO row t; zeros in row 0
    reward                          (R,) or (R, 1)  received on arriving at row t
    is_first, is_last, is_terminal  (R,) or (R, 1)  bool

Read from the code of argmax-ai/aime (aime/env.py) and argmax-ai/aime-v2 (aimev2/data.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lawm.data_modules.importers.episode_files import (
    HDF5_SUFFIXES,
    EpisodeFiles,
    RowNames,
    files_in,
    first_names,
)
from lawm.data_modules.importers.importer import (
    Importer,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.errors import LawmError

SUFFIXES = (*HDF5_SUFFIXES, ".npz")
NAMES = RowNames(
    action="pre_action",
    reward="reward",
    left_out={"label": "which data set it is from", "success": "not seen by the agent"},
)


class Aime(Importer):
    """See the module."""

    name = "aime"
    summary = "trajectories of AIME: {i}.hdf5 or {i}.npz with pre_action"

    def recognises(self, source: Path) -> Recognition:
        """The array ``pre_action`` in the first file."""
        found, name = first_names(source, SUFFIXES)
        if "pre_action" in found:
            return Recognition(True, f"{name} holds pre_action")
        return Recognition(False, f"{name} has no pre_action" if found else name)

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        files = files_in(source, SUFFIXES)
        if not files:
            raise LawmError(f"{source} holds no *{', *'.join(SUFFIXES)}; expected trajectories.")
        yield EpisodeFiles(
            files,
            NAMES,
            SourceFacts(
                files=tuple(files),
                num_episodes=len(files),
                action_convention="led_into",
                convention_reason="AIME's pre_action is the action before the observation",
            ),
        )


IMPORTER = Aime()

__all__ = ["IMPORTER", "Aime"]
