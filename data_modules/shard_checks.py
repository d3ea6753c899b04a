"""Does the content of a shard keep the promises of its format?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.shard_file import REMAKE
from lawm.data_modules.shard_format import EpisodeIndex, Shard
from lawm.errors import LawmError


def check_episodes(path: Path, episodes: EpisodeIndex) -> None:
    """Refuse an index without episodes, out of order, or with returns where none can be.

    Raises:
        LawmError: Names the file and the key.
    """
    if episodes.num_episodes < 1:
        raise LawmError(f"{path} holds no episodes: `/episode/offset` is empty. {REMAKE}")
    if episodes.offset[0] != 0 or episodes.lengths.min() < 1:
        raise LawmError(
            f"`/episode/offset` of {path} must start at 0 and give every episode one transition or "
            f"more, that is two rows; found {episodes.offset[:4].tolist()} and so on. {REMAKE}"
        )
    wrong = np.isfinite(episodes.episode_return) != episodes.has_reward
    if wrong.any():
        first = int(np.argmax(wrong))
        raise LawmError(
            f"`/episode/return` of {path} is {episodes.episode_return[first]} for episode {first} "
            f"whose has_reward is {bool(episodes.has_reward[first])}; expected a number exactly "
            f"where there are rewards. {REMAKE}"
        )


def check_arrays(shard: Shard) -> None:
    """Refuse observations that are not finite, and flags or NaNs that contradict the index.

    Raises:
        LawmError: Names the file, the key and the first episode at fault.
    """
    episodes = shard.episodes
    for key, values in shard.obs.items():
        if values.dtype == np.float32:
            finite = np.isfinite(values).all(axis=1)
            _refuse_rows(shard, f"obs/{key}", ~finite, "is NaN or infinite")
    _check_presence(shard, "action", shard.action, episodes.has_action)
    _check_presence(shard, "reward", shard.reward, episodes.has_reward)
    inner = np.ones(episodes.num_rows, dtype=np.bool_)
    inner[episodes.offset[1:] - 2] = False  # T - 1, the transition that ends the episode
    _refuse_rows(shard, "terminated", shard.terminated & inner, "is true before the episode's end")
    _refuse_rows(shard, "truncated", shard.truncated & inner, "is true before the episode's end")


def _check_presence(
    shard: Shard, name: str, values: NDArray[np.float32] | None, has: NDArray[np.bool_]
) -> None:
    """Numbers at the transitions of the episodes that have them, NaN everywhere else."""
    if values is None:
        if has.any():
            raise LawmError(
                f"{shard.path} has no `/{name}`, but `/episode/has_{name}` says that {has.sum()} "
                f"of {has.size} episodes have it. {REMAKE}"
            )
        return
    rows = values.reshape(len(values), -1)
    present = shard.episodes.transition_mask(has)
    _refuse_rows(
        shard, name, present & ~np.isfinite(rows).all(axis=1), "is NaN or infinite where known"
    )
    _refuse_rows(
        shard, name, ~present & ~np.isnan(rows).all(axis=1), "is a number where it must be NaN"
    )


def _refuse_rows(shard: Shard, name: str, at_fault: NDArray[Any], what: str) -> None:
    if not at_fault.any():
        return
    row = int(np.argmax(at_fault))
    offset = shard.episodes.offset
    episode = int(np.searchsorted(offset, row, side="right")) - 1
    raise LawmError(
        f"`/{name}` of {shard.path} {what}, in {int(at_fault.sum())} rows, the first of them step "
        f"{row - offset[episode]} of episode {episode}. {REMAKE}"
    )


__all__ = ["check_arrays", "check_episodes"]
