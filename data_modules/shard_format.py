"""The trajectory shard: what stands in the HDF5 file, and what it becomes in memory.

A shard holds E episodes. Episode e has T_e transitions, hence T_e + 1 observations. Every array
along time has N = sum over e of (T_e + 1) rows; row t of an episode holds obs_t, the action taken
AT obs_t and the reward of that transition; its last row holds obs_T and NaN for the other two.

    /obs/<key>              (N, D) float32 state or (N, H, W, C) uint8 image
    /action                 (N, A) float32 in the environment's units; NaN where absent
    /reward                 (N,) float32, summed over the action repeat; NaN where absent
    /terminated /truncated  (N,) bool, true at the row of the transition that ended the episode
    /physics                (N, P) float64, the simulator's state; optional
    /episode/offset         (E + 1,) int64, first row of each episode, then N
    /episode/has_action     (E,) bool
    /episode/has_reward     (E,) bool
    /episode/source_id      (E,) fixed-length UTF-8, where the episode comes from
    /episode/return         (E,) float64, sum of the rewards; NaN without rewards
    /provenance             (B,) uint8, JSON; in place of the attribute where that would be too long

``/action`` and ``/reward`` may be missing where no episode has them. Every dataset carries the
SHA-256 of its bytes as the attribute ``sha256``. The attributes of the file are the fields of
:class:`ShardMeta`, the convention ``action_convention = "taken_at"`` and ``complete``, which is
written last. ``renderer``, the JSON of a :class:`~lawm.renderer_spec.RendererSpec`, is there for
rendered pictures alone; of imported ones it is not known. Texts in attributes are of fixed length:
those of variable length lie in a heap that, damaged, can stop the HDF5 library for ever, and are
read in a process of their own first.

What is absent is NaN and never zero: a reader that forgets a mask then fails loudly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.renderer_spec import RendererSpec

FORMAT = "lawm-trajectories"
VERSION = 1
ACTION_CONVENTION = "taken_at"

OBS_GROUP = "obs"
OFFSET = "episode/offset"
HAS_ACTION = "episode/has_action"
HAS_REWARD = "episode/has_reward"
SOURCE_ID = "episode/source_id"
RETURN = "episode/return"
PROVENANCE = "provenance"


@dataclass(frozen=True, eq=False)
class ShardMeta:
    """What the attributes of a shard say."""

    version: int
    env_id: str  # "dm_control/cheetah-run"; empty where unknown
    action_repeat: int  # control steps that one action is held for
    control_timestep: float  # seconds of one control step, before action repeat; 0 where unknown
    action_low: NDArray[np.float64]  # (A,) in the environment's units
    action_high: NDArray[np.float64]  # (A,)
    provenance: dict[str, Any]  # how the shard came to be: command, versions, seeds, date
    checksum: str  # SHA-256 over the checksums of all datasets, as hex
    renderer: RendererSpec | None = None  # of the pictures; None without, and where unknown

    @property
    def step_seconds(self) -> float:
        """Seconds of one action, or from one observation to the next; 0 where unknown."""
        return self.control_timestep * self.action_repeat

    @property
    def action_dim(self) -> int:
        """A."""
        return int(self.action_low.shape[0])


@dataclass(frozen=True, eq=False)
class EpisodeIndex:
    """Where each of the E episodes lies, and what is known of it."""

    offset: NDArray[np.int64]  # (E + 1,)
    has_action: NDArray[np.bool_]  # (E,)
    has_reward: NDArray[np.bool_]  # (E,)
    source_id: list[str]  # E
    episode_return: NDArray[np.float64]  # (E,); NaN without rewards

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.source_id)

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.offset[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(E,) transitions of each episode."""
        return np.diff(self.offset) - 1

    def transition_mask(
        self, of_episodes: NDArray[np.bool_], start: int = 0, stop: int | None = None
    ) -> NDArray[np.bool_]:
        """True at the transitions (all rows but the last) of the episodes set in (E,).

        Args:
            of_episodes: (E,).
            start: The first row that is asked for.
            stop: The row behind the last one; None is N.

        Returns:
            (stop - start,).
        """
        rows = self.per_row(of_episodes, start, stop)
        ends = self.offset[1:] - 1
        low, high = np.searchsorted(ends, [start, start + len(rows)])
        rows[ends[low:high] - start] = False
        return rows

    def per_row(
        self, of_episodes: NDArray[Any], start: int = 0, stop: int | None = None
    ) -> NDArray[Any]:
        """Values (E,) repeated for the rows ``start`` to ``stop`` of their episodes."""
        stop = self.num_rows if stop is None else stop
        first = int(np.searchsorted(self.offset, start, side="right")) - 1
        last = int(np.searchsorted(self.offset, stop, side="left"))  # behind the last episode
        edges = self.offset[first : last + 1]
        rows = np.repeat(of_episodes[first:last], np.diff(edges))
        return rows[start - edges[0] : stop - edges[0]]


@dataclass(frozen=True, eq=False)
class Shard:
    """A whole shard in memory; the arrays are those of the file."""

    path: Path
    meta: ShardMeta
    obs: dict[str, NDArray[Any]]  # (N, D) float32 or (N, H, W, C) uint8, sorted by key
    action: NDArray[np.float32] | None  # (N, A), NaN where absent
    reward: NDArray[np.float32] | None  # (N,), NaN where absent
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    episodes: EpisodeIndex
    physics: NDArray[np.float64] | None = None  # (N, P)


def fixed_text(text: str) -> np.bytes_:
    """A text as an attribute of fixed length; h5py makes others of variable length."""
    return np.bytes_(text.encode())


def combined_checksum(dataset_checksums: Mapping[str, str]) -> str:
    """One digest for the data of a shard, from the SHA-256 of each dataset by its name."""
    lines = (f"{name}:{dataset_checksums[name]}\n" for name in sorted(dataset_checksums))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


__all__ = [
    "ACTION_CONVENTION",
    "FORMAT",
    "HAS_ACTION",
    "HAS_REWARD",
    "OBS_GROUP",
    "OFFSET",
    "RETURN",
    "SOURCE_ID",
    "VERSION",
    "EpisodeIndex",
    "Shard",
    "ShardMeta",
    "combined_checksum",
    "fixed_text",
]
