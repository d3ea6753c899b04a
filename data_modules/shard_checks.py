"""Does the content of a shard keep the promises of its format?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.shard_file import REMAKE, ShardArray
from lawm.data_modules.shard_format import EpisodeIndex
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


def check_content(
    path: Path, episodes: EpisodeIndex, arrays: Mapping[str, ShardArray], *, hashes: bool
) -> None:
    """Refuse observations that are not finite, flags or NaNs that contradict the index, damage.

    Args:
        path: The shard.
        episodes: Its index.
        arrays: Its arrays of N rows, by name.
        hashes: Compare each with its SHA-256 as well.

    Raises:
        LawmError: Names the file, the key and the first episode at fault.
    """
    for name, has in (("action", episodes.has_action), ("reward", episodes.has_reward)):
        if name not in arrays and has.any():
            raise LawmError(
                f"{path} has no `/{name}`, but `/episode/has_{name}` says that {has.sum()} "
                f"of {has.size} episodes have it. {REMAKE}"
            )
    for name, array in arrays.items():
        _check_array(path, episodes, name, array, hashes)


def _check_array(
    path: Path, episodes: EpisodeIndex, name: str, array: ShardArray, hashes: bool
) -> None:
    digest = hashlib.sha256()
    num_at_fault: dict[str, int] = {}
    first_at_fault: dict[str, int] = {}
    for start, rows in array.blocks():
        if hashes:
            digest.update(np.ascontiguousarray(rows).data)
        for what, at_fault in _faults(episodes, name, start, rows):
            if at_fault.any():
                num_at_fault[what] = num_at_fault.get(what, 0) + int(at_fault.sum())
                first_at_fault.setdefault(what, start + int(np.argmax(at_fault)))
    if hashes:
        refuse_damage(path, name, digest.hexdigest(), array.checksum)
    for what, num in num_at_fault.items():
        row = first_at_fault[what]
        episode = int(np.searchsorted(episodes.offset, row, side="right")) - 1
        raise LawmError(
            f"`/{name}` of {path} {what}, in {num} rows, the first of them step "
            f"{row - episodes.offset[episode]} of episode {episode}. {REMAKE}"
        )


def _faults(
    episodes: EpisodeIndex, name: str, start: int, rows: NDArray[Any]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What may be wrong with the rows from ``start`` on, and with which of them it is."""
    stop = start + len(rows)
    if rows.dtype == np.float32 and name.startswith("obs/"):
        yield "is NaN or infinite", ~_all(np.isfinite(rows))
    elif name in ("action", "reward"):
        has = episodes.has_action if name == "action" else episodes.has_reward
        present = episodes.transition_mask(has, start, stop)
        yield "is NaN or infinite where known", present & ~_all(np.isfinite(rows))
        yield "is a number where it must be NaN", ~present & ~_all(np.isnan(rows))
    elif name in ("terminated", "truncated"):
        is_end = np.zeros(len(rows), np.bool_)
        ends = episodes.offset[1:] - 2  # T - 1, the transition that ends the episode
        low, high = np.searchsorted(ends, [start, stop])
        is_end[ends[low:high] - start] = True
        yield "is true before the episode's end", rows & ~is_end


def _all(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, ...) to (n,)."""
    return np.asarray(values.reshape(len(values), -1).all(axis=1))


def refuse_damage(path: Path, name: str, found: str, stated: str) -> None:
    """Refuse a dataset whose SHA-256 is not what the file states of it.

    Raises:
        LawmError: Names the file and the dataset.
    """
    if found != stated:
        raise LawmError(
            f"`/{name}` of {path} is damaged: its SHA-256 is {found[:12]}…, expected "
            f"{stated[:12]}…. Copy the file again from where it came."
        )


__all__ = ["check_content", "check_episodes", "refuse_damage"]
