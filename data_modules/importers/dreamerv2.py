"""The episodes that DreamerV2 and dreamerv3-torch save, and V-D4RL at 64 pixels.

A folder of ``{timestamp}-{uuid}-{length}.npz``, an episode each, with R rows, an observation a row:

    image, or any other key   (R, ...)  observations; V-D4RL: (501, 64, 64, 3) uint8
    action                    (R, A)    the action that LED INTO row t; zeros in row 0
    reward                    (R,)      received on arriving at row t
    is_first, is_last, is_terminal  (R,) bool
    discount                  (R,)      0 at a terminal state; tells it where is_terminal is missing

Read from the code of danijar/dreamerv2 (common/driver.py, common/replay.py), NM512/dreamerv3-torch
(tools.py) and conglu1997/v-d4rl.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lawm.data_modules.importers.dreamerv3 import first_chunk
from lawm.data_modules.importers.episode_files import (
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

NAMES = RowNames(
    action="action",
    reward="reward",
    left_out={
        "reset": "whether the environment was reset",
        "logprob": "of the action under the agent that acted",
    },
)
OTHERS = {"obs", "observation", "observations", "physics", "pre_action"}  # of other formats


class DreamerV2(Importer):
    """See the module."""

    name = "dreamerv2"
    summary = (
        "episodes of DreamerV2, dreamerv3-torch and V-D4RL (64 px): {time}-{uuid}-{length}.npz"
    )

    def recognises(self, source: Path) -> Recognition:
        """Archives with actions, rewards and ``is_first`` or ``discount``, of no other format."""
        found, name = first_names(source, (".npz",))
        if not found:
            return Recognition(False, name)
        chunk = first_chunk(source)
        if chunk is not None:
            return Recognition(False, f"{chunk.name} is called like a chunk of DreamerV3's")
        if (
            {"action", "reward"} <= found
            and found & {"is_first", "discount"}
            and not found & OTHERS
        ):
            return Recognition(True, f"{name} holds {', '.join(sorted(found))}")
        return Recognition(False, f"{name} lacks action, reward or is_first, or has other arrays")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        files = files_in(source, (".npz",))
        if not files:
            raise LawmError(f"{source} holds no *.npz; expected the episodes of a replay.")
        yield EpisodeFiles(
            files,
            NAMES,
            SourceFacts(
                files=tuple(files),
                num_episodes=len(files),
                action_convention="led_into",
                convention_reason="DreamerV2 stores an action with the observation it led to",
            ),
        )


IMPORTER = DreamerV2()

__all__ = ["IMPORTER", "DreamerV2"]
