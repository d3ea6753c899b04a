"""What an importer is: it recognises a format, opens it lazily and gives its episodes as they are.

An importer knows one format and nothing of shards. It changes no number: action convention,
choice and layout of observations, bounds and everything else that all formats share happen once,
behind this interface (``action_convention``, ``observation_keys``, ``import_plan``).

Rows. An episode has R observations. Its actions and rewards either lie between them, R - 1 rows,
or share their rows, R of them; then there are two conventions:

    taken_at  row t is the action chosen AT observation t, the last row led nowhere that was kept
    led_into  row t is the action that LED INTO observation t, row 0 is a dummy

A format's rewards mostly follow its actions; where they do not, it says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.video_options import VideoOptions

Convention = Literal["taken_at", "led_into"]


@dataclass(frozen=True)
class Recognition:
    """Whether something is of a format, and what that was judged by."""

    found: bool
    reason: str  # "holds /observations and /actions of one length", or "has no /observations"


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say of some formats; an importer names those that it takes."""

    filter: str = ""  # the part of the data to import, by a name that the source itself gives
    max_episode_steps: int = 0  # where to cut a source that does not mark its time limits; 0: none
    relabel_env: str = ""  # the dm_control task whose rewards replace the source's; empty: none
    stored_rewards: bool = False  # take rewards that are of another task than the data are for
    more_sources: tuple[Path, ...] = ()  # files and folders beside the source, of the same format
    video: VideoOptions | None = None  # None: nothing was said of pictures and their times


@dataclass(frozen=True)
class ObservationField:
    """One observation key of a source."""

    shape: tuple[int, ...]  # of one step, as stored
    dtype: np.dtype[Any]
    name: str  # in the shard, unless the user says otherwise; without "/" and "."
    left_out: str = ""  # why it is not imported unless it is asked for; empty: it is


@dataclass(frozen=True, eq=False)
class SourceFacts:
    """What a source says of itself."""

    files: tuple[Path, ...]  # that hold the data; the report hashes them
    num_episodes: int | None  # None where only reading tells
    has_actions: bool = True  # False where the format knows none; then no episode is read for them
    action_convention: Convention | None = None  # of rows that are shared; None: not stated
    reward_convention: Convention | None = None  # None: that of the actions
    convention_reason: str = ""  # "the writer of this format stores ..."
    env_name: str = ""  # as the source calls it; for the reader, not an id of ours
    action_low: NDArray[np.float64] | None = None  # (A,); None where not stated or not finite
    action_high: NDArray[np.float64] | None = None  # (A,)
    action_repeat: int | None = None  # control steps per action; None where not stated
    control_timestep: float = 0.0  # seconds of one control step, before action repeat; 0: unknown
    left_out: Mapping[str, str] = field(default_factory=dict)  # what else it holds, and why not


@dataclass(frozen=True, eq=False)
class RawEpisode:
    """One episode with the source's own rows and types; R observations."""

    num_rows: int  # R, also where no observation was asked for
    obs: dict[str, NDArray[Any]]  # (R, ...) of each key that was asked for
    action: NDArray[Any] | None  # (R or R - 1, A) or, for A = 1, (R or R - 1,); NaN is absent
    reward: NDArray[Any] | None  # (R or R - 1,), also (..., 1); NaN throughout is absent
    terminated: bool  # the LAST OBSERVATION is a terminal state
    truncated: bool  # a time limit, or the end of the recording, came after it
    source_id: str  # such as "hopper.hdf5/12"
    physics: NDArray[Any] | None = None  # (R, P) simulator states, where all episodes have them


class Source(ABC):
    """An opened source; nothing large is in memory between two episodes."""

    facts: SourceFacts
    observations: Mapping[str, ObservationField]  # by the source's own name of each key
    notes: list[str]  # sentences on what was dropped and why; may grow while episodes are read

    @abstractmethod
    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """The episodes in the source's order; may be called again, and left early.

        Args:
            keys: Of :attr:`observations`; the others are not read.

        Raises:
            LawmError: Something is wrong in a file; names it.
        """


class Importer(ABC):
    """A format. Each module in this package has one, as ``IMPORTER``."""

    name: str  # for --format
    summary: str  # half a line: what it looks like
    options: frozenset[str] = frozenset()  # the fields of SourceOptions that it takes

    @abstractmethod
    def recognises(self, source: Path) -> Recognition:
        """Whether a file or folder is of this format, judged by its content.

        Cheap, and never raises for what is merely another format: a file that cannot be opened is
        not recognised, with the reason.
        """

    @abstractmethod
    def open(self, source: Path, options: SourceOptions) -> AbstractContextManager[Source]:
        """Open it lazily.

        Raises:
            LawmError: It is damaged or not of this format.
        """


__all__ = [
    "Convention",
    "Importer",
    "ObservationField",
    "RawEpisode",
    "Recognition",
    "Source",
    "SourceFacts",
    "SourceOptions",
]
