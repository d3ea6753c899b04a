"""The training data in memory: flat tensors along time from which whole batches are gathered.

Episodes lie one after the other, first the held-out, then the labelled, then the action-free ones.
Actions are kept for the first two only, so a hidden action is not in memory at all, and one row
number serves all arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.batch import Batch, EpisodeBatch
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.trajectory_split import EpisodeSplit, ShardHeader, disagreement
from lawm.data_modules.window_sampler import WindowPool
from lawm.errors import LawmError
from lawm.spec import ObservationSpec

MIN_STD = 1e-3  # a dimension that hardly moves is not blown up by standardisation
STATISTICS_BLOCK = 65_536  # rows at a time, so that float64 copies stay small


@dataclass(frozen=True, eq=False)
class EpisodeStore:
    """E episodes in N rows; K of the rows belong to held-out and labelled episodes."""

    obs: dict[str, Tensor]  # each (N, *shape): float32 states, uint8 images
    action: Tensor  # (K, A) float32 in [-1, 1]; zero in the last row of an episode
    reward: Tensor  # (N,) float32; zero where unknown and in the last row of an episode
    terminated: Tensor  # (N,) float32 in {0, 1}
    has_reward: Tensor  # (N,) bool, the same in all rows of an episode
    offset: NDArray[np.int64]  # (E + 1,) first row of each episode, then N
    num_held_out: int  # episodes
    num_labelled: int  # episodes

    @property
    def held_out(self) -> range:
        """Numbers of the held-out episodes."""
        return range(self.num_held_out)

    @property
    def labelled(self) -> range:
        """Numbers of the labelled training episodes."""
        return range(self.num_held_out, self.num_held_out + self.num_labelled)

    @property
    def free(self) -> range:
        """Numbers of the action-free training episodes."""
        return range(self.labelled.stop, len(self.offset) - 1)

    def lengths(self, episodes: range) -> NDArray[np.int64]:
        """(E,) transitions of each of the episodes."""
        return np.diff(self.offset[episodes.start : episodes.stop + 1]) - 1

    def num_transitions(self, episodes: range) -> int:
        """Transitions of the episodes together."""
        return int(self.lengths(episodes).sum())

    def window_pool(self, episodes: range, window: int) -> WindowPool:
        """All windows of ``window`` transitions within the episodes."""
        return WindowPool(
            self.offset[episodes.start : episodes.stop], self.lengths(episodes), window
        )

    def tile(self, episodes: range, window: int) -> NDArray[np.int64]:
        """First rows of windows that lie end to end from the start of each episode."""
        first = self.offset[episodes.start : episodes.stop]
        per_episode = self.lengths(episodes) // window
        before = np.cumsum(per_episode) - per_episode
        place = np.arange(int(per_episode.sum())) - np.repeat(before, per_episode)
        return np.repeat(first, per_episode) + window * place

    def windows(
        self, labelled_rows: NDArray[np.int64], free_rows: NDArray[np.int64], window: int
    ) -> Batch:
        """Gather a batch.

        Args:
            labelled_rows: (L,) first rows of the windows with labels.
            free_rows: (B - L,) first rows of those without.
            window: T, the transitions of each.
        """
        num_labelled, num_rows = len(labelled_rows), len(labelled_rows) + len(free_rows)
        first = torch.from_numpy(np.concatenate([labelled_rows, free_rows]))
        offset = torch.from_numpy(self.offset)
        episode = torch.searchsorted(offset, first, right=True) - 1
        rows = first[:, None] + torch.arange(window + 1)  # (B, T + 1)
        every, steps = rows.flatten(), rows[:, :-1].flatten()
        return Batch(
            obs={
                key: values.index_select(0, every).view(num_rows, window + 1, *values.shape[1:])
                for key, values in self.obs.items()
            },
            action=self.action.index_select(0, steps[: num_labelled * window]).view(
                num_labelled, window, -1
            ),
            reward=self.reward.index_select(0, steps).view(num_rows, window),
            terminated=self.terminated.index_select(0, steps).view(num_rows, window),
            has_reward=self.has_reward.index_select(0, first),
            source=torch.stack([episode, first - offset[episode]], dim=1),
        )

    def episode_batch(self, episodes: range) -> EpisodeBatch:
        """Whole episodes, padded to the longest; those with kept actions come first by layout."""
        first = torch.from_numpy(self.offset[episodes.start : episodes.stop])  # (E,)
        length = torch.from_numpy(self.lengths(episodes))
        longest = int(length.max()) if len(episodes) else 0
        time = torch.arange(longest + 1)
        rows = first[:, None] + torch.minimum(time, length[:, None])  # (E, T + 1)
        is_real = time[:-1] < length[:, None]  # (E, T)
        num_known = len(range(episodes.start, min(episodes.stop, self.labelled.stop)))
        return EpisodeBatch(
            obs={key: values[rows] for key, values in self.obs.items()},
            action=self.action[rows[:num_known, :-1]] * is_real[:num_known, :, None],
            reward=self.reward[rows[:, :-1]] * is_real,
            has_reward=self.has_reward[first],
            length=length,
        )

    def terminates(self, episodes: range) -> bool:
        """Whether one of these episodes ends in a terminal state."""
        rows = slice(self.offset[episodes.start], self.offset[episodes.stop])
        return bool(self.terminated[rows].any())

    def observation_specs(self, episodes: range) -> dict[str, ObservationSpec]:
        """Shape of each observation; for states mean and deviation over ``episodes``."""
        rows = slice(self.offset[episodes.start], self.offset[episodes.stop])
        specs: dict[str, ObservationSpec] = {}
        for key, values in self.obs.items():
            shape = tuple(values.shape[1:])
            if values.dtype == torch.uint8:
                specs[key] = ObservationSpec(shape=shape, kind="image")
                continue
            mean, std = _mean_and_std(values.numpy()[rows])
            specs[key] = ObservationSpec(
                shape=shape,
                kind="state",
                mean=tuple(mean.tolist()),
                std=tuple(np.maximum(std, MIN_STD).tolist()),
            )
        return specs


def load_store(
    headers: Sequence[ShardHeader], split: EpisodeSplit, *, rewards_on_action_free: bool
) -> EpisodeStore:
    """Read the shards one after the other; what is hidden is dropped with each of them.

    Args:
        headers: The shards in the order by which the split numbers their episodes.
        split: The part that each episode plays.
        rewards_on_action_free: Keep the rewards of action-free episodes too.

    Raises:
        LawmError: A shard is faulty or damaged, or has other observations than the first one.
    """
    order = np.concatenate([split.held_out, split.labelled, split.free])
    num_known = len(split.held_out) + len(split.labelled)
    num_rows = np.concatenate([np.diff(header.episodes.offset) for header in headers])  # (E,)
    offset = np.concatenate([[0], np.cumsum(num_rows[order])])
    place = np.empty_like(order)  # (E,) number in the store, by the number of the split
    place[order] = np.arange(len(order))

    store: EpisodeStore | None = None
    done = 0
    for header in headers:
        shard = read_shard(header.path, verify=True)
        if shard.meta.checksum != header.meta.checksum:
            raise LawmError(f"{header.path} was rewritten while it was read. Start again.")
        if store is None:
            action_dim = max(header.meta.action_dim for header in headers)
            store = EpisodeStore(
                obs={key: _zeros(offset[-1], values) for key, values in shard.obs.items()},
                action=torch.zeros(int(offset[num_known]), action_dim),
                reward=torch.zeros(int(offset[-1])),
                terminated=torch.zeros(int(offset[-1])),
                has_reward=torch.zeros(int(offset[-1]), dtype=torch.bool),
                offset=offset,
                num_held_out=len(split.held_out),
                num_labelled=len(split.labelled),
            )
        _check_observations(shard, store, headers[0])
        until = done + shard.episodes.num_episodes
        _copy_shard(store, shard, place[done:until], rewards_on_action_free)
        done = until
    assert store is not None, "no shards"
    return store


def _copy_shard(
    store: EpisodeStore, shard: Shard, place: NDArray[np.int64], rewards_on_action_free: bool
) -> None:
    """Copy what may be seen of a shard's episodes to their places (E,) in the store."""
    episodes = shard.episodes
    per_row = np.diff(episodes.offset)
    shift = store.offset[place] - episodes.offset[:-1]
    rows = np.arange(episodes.num_rows) + np.repeat(shift, per_row)
    for key, values in shard.obs.items():
        store.obs[key].numpy()[rows] = values
    store.terminated.numpy()[rows] = shard.terminated
    is_known = place < store.free.start
    if shard.action is not None:
        known = np.repeat(is_known, per_row)
        store.action.numpy()[rows[known]] = _scaled(shard.action[known], shard)
    if shard.reward is not None:
        kept = np.repeat(episodes.has_reward & (is_known | rewards_on_action_free), per_row)
        store.has_reward.numpy()[rows[kept]] = True
        store.reward.numpy()[rows[kept]] = np.nan_to_num(shard.reward[kept])


def _scaled(action: NDArray[np.float32], shard: Shard) -> NDArray[np.float64]:
    """Actions (N, A) from the environment's units to [-1, 1]; NaN, after the last step, to zero.

    What lies outside of the bounds is clipped, as environments do.
    """
    low, high = shard.meta.action_low, shard.meta.action_high
    return np.nan_to_num(np.clip(2.0 * (action - low) / (high - low) - 1.0, -1.0, 1.0))


def _mean_and_std(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over the rows of (N, D), in float64."""
    blocks = range(0, len(values), STATISTICS_BLOCK)
    mean = sum(values[i : i + STATISTICS_BLOCK].sum(0, np.float64) for i in blocks) / len(values)
    squares = sum(((values[i : i + STATISTICS_BLOCK] - mean) ** 2).sum(0) for i in blocks)
    return mean, np.sqrt(squares / len(values))


def _zeros(num_rows: int, like: NDArray[Any]) -> Tensor:
    dtype = torch.uint8 if like.dtype == np.uint8 else torch.float32
    return torch.zeros(int(num_rows), *like.shape[1:], dtype=dtype)


def _check_observations(shard: Shard, store: EpisodeStore, first: ShardHeader) -> None:
    """Refuse a shard whose observations differ from those of the first one."""

    def describe(arrays: Mapping[str, Any]) -> dict[str, str]:
        return {
            key: f"{tuple(x.shape[1:])} {str(x.dtype).removeprefix('torch.')}"
            for key, x in arrays.items()
        }

    found, expected = describe(shard.obs), describe(store.obs)
    if found != expected:
        raise disagreement("observations", shard.path, found, first.path, expected)


__all__ = ["EpisodeStore", "load_store"]
