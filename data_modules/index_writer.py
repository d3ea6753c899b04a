"""The small arrays of a shard: what is known of each episode, gathered until all are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.episode import Episode
from lawm.data_modules.shard_file import checksum

FLAG_CHUNK = 65_536  # rows of flags, which gzip shrinks to almost nothing


@dataclass
class IndexWriter:
    """What is remembered of E episodes, in their order."""

    num_rows: list[int] = field(default_factory=list)
    has_action: list[bool] = field(default_factory=list)
    has_reward: list[bool] = field(default_factory=list)
    episode_return: list[float] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    source_id: list[bytes] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """Of the arrays, about."""
        longest = max(map(len, self.source_id), default=0)
        return len(self.num_rows) * (longest + 32)

    def add(self, episode: Episode) -> None:
        """Remember the next episode."""
        self.num_rows.append(episode.num_rows)
        self.has_action.append(episode.action is not None)
        self.has_reward.append(episode.reward is not None)
        self.episode_return.append(episode.episode_return)
        self.terminated.append(episode.terminated)
        self.truncated.append(episode.truncated)
        self.source_id.append(episode.source_id.encode(errors="backslashreplace"))

    def write(self, file: h5py.File) -> None:
        """Write the arrays of E rows, and the flags of N."""
        write_dataset(file, fmt.OFFSET, np.cumsum([0, *self.num_rows], dtype=np.int64))
        write_dataset(file, fmt.HAS_ACTION, np.array(self.has_action))
        write_dataset(file, fmt.HAS_REWARD, np.array(self.has_reward))
        write_dataset(file, fmt.RETURN, np.array(self.episode_return))
        kind = h5py.string_dtype("utf-8", length=max(1, *map(len, self.source_id)))
        write_dataset(file, fmt.SOURCE_ID, np.array(self.source_id, dtype=kind))
        ends = np.cumsum(self.num_rows)
        for name, at_end in (("terminated", self.terminated), ("truncated", self.truncated)):
            flags = np.zeros(ends[-1], np.bool_)
            flags[ends - 2] = at_end
            write_dataset(file, name, flags)


def write_dataset(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """A dataset with its checksum: flags in compressed chunks, the rest contiguous."""
    options: dict[str, Any] = {}
    if values.dtype == np.bool_:
        options = {"chunks": (min(len(values), FLAG_CHUNK),), "compression": "gzip"}
    dataset = file.create_dataset(name, data=values, **options)
    dataset.attrs["sha256"] = fmt.fixed_text(checksum(values))


__all__ = ["IndexWriter", "write_dataset"]
