"""The episodes that are trained and measured on, and batches of windows from them.

Episodes lie one after the other, first the held-out, then the labelled, then the action-free ones,
and one row number serves all arrays. Where the rows are kept is the business of a
:class:`RowSource`; the store knows what may be asked of it: actions of the first two kinds only,
and rewards where they are not hidden. What is hidden is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.batch import Batch, EpisodeBatch
from lawm.data_modules.row_sources import RowSource
from lawm.data_modules.shard_headers import ArrayLayout
from lawm.data_modules.window_sampler import WindowPool
from lawm.spec import ObservationSpec

MIN_STD = 1e-3  # a dimension that hardly moves is not blown up by standardisation
LEAST_CHANGE = 1e-2  # of the deviation: nor are the rounding errors of one that moves slowly
REWARD_EPISODES = 1_000
STATISTICS_BLOCK = 65_536  # rows at a time, so that float64 copies stay small


@dataclass(frozen=True, eq=False)
class ActionScale:
    """From the environment's units to [-1, 1]; what lies beyond is clipped, as environments do."""

    low: NDArray[np.float64]  # (A,)
    high: NDArray[np.float64]  # (A,)

    def __call__(self, action: Tensor) -> Tensor:
        """Scale actions (..., A), in float64 on the way."""
        values = action.numpy()
        scaled = np.clip(2.0 * (values - self.low) / (self.high - self.low) - 1.0, -1.0, 1.0)
        return torch.from_numpy(scaled.astype(np.float32))


@dataclass(frozen=True, eq=False)
class EpisodeStore:
    """E episodes in N rows."""

    rows: RowSource
    obs: dict[str, ArrayLayout]  # sorted by key
    probes: dict[str, ArrayLayout]  # states beside them, of the held-out episodes alone
    action_scale: ActionScale
    actions_are_scaled: bool  # as they come from the source
    offset: NDArray[np.int64]  # (E + 1,) first row of each episode, then N
    terminated: NDArray[np.bool_]  # (E,) its last transition ended the task
    has_reward: NDArray[np.bool_]  # (E,) known and not hidden
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

    def largest_episode_bytes(self, episodes: range) -> int:
        """Bytes of the observations of the longest of the episodes."""
        row = sum(layout.row_bytes for layout in self.obs.values())
        return row * (int(self.lengths(episodes).max(initial=0)) + 1)

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
        first = np.concatenate([labelled_rows, free_rows])
        episodes = np.searchsorted(self.offset, first, side="right") - 1  # (B,)
        steps = first - self.offset[episodes]
        known = slice(len(labelled_rows))
        rewarded = slice(None if self._free_have_rewards else len(labelled_rows))
        has_reward = self.has_reward[episodes[rewarded]]
        return Batch(
            obs={
                key: self.rows.windows(f"obs/{key}", episodes, steps, window + 1)
                for key in self.obs
            },
            action=self._action(episodes[known], steps[known], window),
            reward=self._reward(episodes[rewarded], steps[rewarded], window, has_reward),
            terminated=self._terminated(episodes, steps, window),
            has_reward=torch.from_numpy(has_reward),
            source=torch.from_numpy(np.stack([episodes, steps], axis=1)),
        )

    def held_out_windows(self, rows: NDArray[np.int64], window: int) -> Batch:
        """Windows of held-out episodes with labels and probes, by their first rows (L,)."""
        batch = self.windows(rows, rows[:0], window)
        assert batch.source is not None
        episodes, steps = batch.source.numpy().T
        assert (episodes < self.num_held_out).all(), "a probe of training data was asked for"
        probe = {
            key: self.rows.windows(f"obs/{key}", episodes, steps, window + 1) for key in self.probes
        }
        return replace(batch, probe=probe)

    def episode_batch(self, episodes: range) -> EpisodeBatch:
        """Whole episodes, padded to the longest; those with kept actions come first by layout."""
        length = self.lengths(episodes)
        longest = int(length.max()) if len(episodes) else 0
        num_known = len(range(episodes.start, min(episodes.stop, self.labelled.stop)))
        batch = EpisodeBatch(
            obs={
                key: torch.empty(
                    len(episodes), longest + 1, *kind.step_shape, dtype=_torch_dtype(kind.dtype)
                )
                for key, kind in self.obs.items()
            },
            action=torch.zeros(num_known, longest, len(self.action_scale.low)),
            reward=torch.zeros(len(episodes), longest),
            has_reward=torch.from_numpy(self.has_reward[episodes.start : episodes.stop].copy()),
            length=torch.from_numpy(length),
            terminated=torch.from_numpy(self.terminated[episodes.start : episodes.stop].copy()),
        )
        start = np.zeros(1, np.int64)
        for place, (episode, steps) in enumerate(zip(episodes, length.tolist(), strict=True)):
            number = np.array([episode])
            for key, values in batch.obs.items():
                values[place, : steps + 1] = self.rows.windows(
                    f"obs/{key}", number, start, steps + 1
                )[0]
                values[place, steps + 1 :] = values[place, steps]
            if place < num_known:
                batch.action[place, :steps] = self._action(number, start, steps)[0]
            if self.has_reward[episode]:
                batch.reward[place, :steps] = self.rows.windows("reward", number, start, steps)[0]
        return batch

    def terminates(self, episodes: range) -> bool:
        """Whether one of these episodes ends in a terminal state."""
        return bool(self.terminated[episodes.start : episodes.stop].any())

    def reward_size(self, episodes: range) -> float:
        """Root mean square of their known rewards other than 0; NaN if there are none.

        Of very many episodes about REWARD_EPISODES at even distance are read.
        """
        known = np.flatnonzero(self.has_reward[episodes.start : episodes.stop]) + episodes.start
        squares, count = 0.0, 0
        for number in known[:: max(1, len(known) // REWARD_EPISODES), None]:
            steps = int(np.diff(self.offset[number[0] : number[0] + 2])[0]) - 1
            rewards = self.rows.windows("reward", number, np.zeros(1, np.int64), steps).double()
            squares += float(rewards.square().sum())
            count += int(rewards.count_nonzero())
        return float(np.sqrt(squares / count)) if count else float("nan")

    def observation_specs(self, episodes: range) -> dict[str, ObservationSpec]:
        """Shape of each observation; for states the statistics over ``episodes``."""
        specs: dict[str, ObservationSpec] = {}
        for key, kind in self.obs.items():
            if kind.dtype == np.uint8:
                specs[key] = ObservationSpec(shape=kind.step_shape, kind="image")
                continue
            mean, std = self._mean_and_std(f"obs/{key}", episodes)
            std = np.maximum(std, MIN_STD)
            change = np.maximum(self._change(f"obs/{key}", episodes), LEAST_CHANGE * std)
            specs[key] = ObservationSpec(
                shape=kind.step_shape,
                kind="state",
                mean=tuple(mean.tolist()),
                std=tuple(std.tolist()),
                change=tuple(change.tolist()),
            )
        return specs

    @cached_property
    def _free_have_rewards(self) -> bool:
        """Whether an action-free episode has rewards that are not hidden."""
        return bool(self.has_reward[self.free.start :].any())

    def _action(self, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int) -> Tensor:
        """(n, count, A) in [-1, 1]."""
        assert (episodes < self.free.start).all(), "a hidden action was asked for"
        if len(episodes) == 0:
            return torch.zeros(0, count, len(self.action_scale.low))
        values = self.rows.windows("action", episodes, steps, count)
        return values if self.actions_are_scaled else self.action_scale(values)

    def _reward(
        self,
        episodes: NDArray[np.int64],
        steps: NDArray[np.int64],
        count: int,
        kept: NDArray[np.bool_],
    ) -> Tensor:
        """(n, count), zero where it is unknown or hidden."""
        if kept.all():
            return self.rows.windows("reward", episodes, steps, count)
        reward = torch.zeros(len(episodes), count)
        if kept.any():
            known = self.rows.windows("reward", episodes[kept], steps[kept], count)
            reward[torch.from_numpy(kept)] = known
        return reward

    def _terminated(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], count: int
    ) -> Tensor:
        """(n, count) in {0, 1}."""
        last = self.offset[episodes + 1] - self.offset[episodes] - 2 - steps  # where it would end
        ends = np.flatnonzero(self.terminated[episodes] & (last < count))
        terminated = np.zeros((len(episodes), count), np.float32)
        terminated[ends, last[ends]] = 1.0
        return torch.from_numpy(terminated)

    def _mean_and_std(
        self, name: str, episodes: range
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(D,) each, in float64."""
        first, end = int(self.offset[episodes.start]), int(self.offset[episodes.stop])

        def blocks() -> Iterator[NDArray[Any]]:
            for start in range(first, end, STATISTICS_BLOCK):
                yield self.rows.span(name, start, min(start + STATISTICS_BLOCK, end))

        mean = sum(block.sum(0, np.float64) for block in blocks()) / (end - first)
        squares = sum(((block - mean) ** 2).sum(0) for block in blocks())
        return mean, np.sqrt(squares / (end - first))

    def _change(self, name: str, episodes: range) -> NDArray[np.float64]:
        """(D,) root mean square of what a row differs by from the one before in its episode."""
        first, end = int(self.offset[episodes.start]), int(self.offset[episodes.stop])
        begins = self.offset[episodes.start + 1 : episodes.stop]  # rows without one before
        squares, count = np.zeros(()), 0
        for start in range(first, end - 1, STATISTICS_BLOCK):
            stop = min(start + STATISTICS_BLOCK + 1, end)  # a row of the next block, too
            rows = self.rows.span(name, start, stop).astype(np.float64)
            inside = np.ones(len(rows) - 1, np.bool_)
            low, high = np.searchsorted(begins, (start + 1, stop))
            inside[begins[low:high] - start - 1] = False
            squares = squares + (np.diff(rows, axis=0)[inside] ** 2).sum(0)
            count += int(inside.sum())
        change: NDArray[np.float64] = np.sqrt(squares / count)
        return change


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.uint8 if dtype == np.uint8 else torch.float32


__all__ = ["ActionScale", "EpisodeStore"]
