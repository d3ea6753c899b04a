"""Check the shards of a data set and make their episodes available, wherever the rows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lawm.data_modules.episode_store import ActionScale, EpisodeStore
from lawm.data_modules.raw_cache import default_cache_folder, unpacked
from lawm.data_modules.row_sources import (
    FilePlace,
    MappedRows,
    MemoryRows,
    RowSource,
    StreamedRows,
)
from lawm.data_modules.shard_file import ShardArray
from lawm.data_modules.shard_format import EpisodeIndex
from lawm.data_modules.shard_headers import ShardHeader, probe_keys
from lawm.data_modules.shard_reader import OpenShard, open_shard
from lawm.data_modules.trajectory_split import EpisodeSplit
from lawm.errors import LawmError

SCALED_AT_ONCE = 1 << 20  # actions


def load_store(
    headers: Sequence[ShardHeader],
    split: EpisodeSplit,
    *,
    rewards_on_action_free: bool,
    storage: Literal["memory", "mapped", "stream"] = "memory",
    cache: Path | None = None,
    verify: bool = True,
) -> EpisodeStore:
    """Go through the shards one after the other, some megabytes at a time.

    Args:
        headers: The shards in the order by which the split numbers their episodes.
        split: The part that each episode plays.
        rewards_on_action_free: Keep the rewards of action-free episodes too.
        storage: Where the rows are kept; see :func:`choose_storage`.
        cache: Where unpacked copies of compressed arrays lie for ``mapped``; None is the default
            folder.
        verify: Read everything once and compare it with its checksums and the format's promises;
            without it ``mapped`` and ``stream`` read the index alone.

    Raises:
        LawmError: A shard is faulty or damaged, or was rewritten since its header was read.
    """
    order = np.concatenate([split.held_out, split.labelled, split.free])
    num_known = len(split.held_out) + len(split.labelled)
    per_episode = np.concatenate([np.diff(header.episodes.offset) for header in headers])  # (E,)
    offset = np.concatenate([[0], np.cumsum(per_episode[order])])
    place = np.empty_like(order)  # (E,) number in the store, by the number of the split
    place[order] = np.arange(len(order))
    is_known = place < num_known
    has_reward = np.concatenate([header.episodes.has_reward for header in headers])
    has_reward &= is_known | rewards_on_action_free
    bounds = next((h.meta for h in headers if h.meta.action_dim > 0), headers[0].meta)

    probes = probe_keys(headers)
    is_held_out = place < len(split.held_out)

    tensors: dict[str, torch.Tensor] = {}
    if storage == "memory":
        tensors = {
            f"obs/{key}": torch.empty(
                int(offset[-1]),
                *kind.step_shape,
                dtype=torch.uint8 if kind.dtype == np.uint8 else torch.float32,
            )
            for key, kind in headers[0].obs.items()
        }
        for key, kind in probes.items():
            tensors[f"obs/{key}"] = torch.empty(int(offset[len(split.held_out)]), *kind.step_shape)
        tensors["action"] = torch.zeros(int(offset[num_known]), bounds.action_dim)
        tensors["reward"] = torch.zeros(int(offset[-1]))
    terminated: list[NDArray[np.bool_]] = []
    places: dict[str, list[FilePlace | None]] = {}
    done = 0
    for header in headers:
        until = done + header.episodes.num_episodes
        with open_shard(header.path) as shard:
            if shard.meta.checksum != header.meta.checksum:
                raise LawmError(f"{header.path} was rewritten while it was read. Start again.")
            if verify or storage == "memory":
                shard.check(hashes=verify)
            terminated.append(_ends(shard.arrays["terminated"], header.episodes))
            if storage == "memory":
                shift = offset[place[done:until]] - header.episodes.offset[:-1]
                everything = np.ones(until - done, np.bool_)
                wanted = {f"obs/{key}": everything for key in header.obs}
                wanted |= {"action": is_known[done:until], "reward": has_reward[done:until]}
                wanted |= {f"obs/{key}": is_held_out[done:until] for key in probes}
                for name, of_episodes in wanted.items():
                    if name in shard.arrays:
                        _copy(shard, name, of_episodes, shift, tensors[name])
            elif storage == "mapped":
                folder = cache or default_cache_folder()
                keys = (*header.obs, *probes)
                for name in (*(f"obs/{key}" for key in keys), "action", "reward"):
                    array = shard.arrays.get(name)
                    at = None if array is None else _place(array, folder, verify=verify)
                    places.setdefault(name, []).append(at)
        done = until

    action_scale = ActionScale(bounds.action_low, bounds.action_high)
    if storage == "memory":
        for start in range(0, len(tensors["action"]), SCALED_AT_ONCE):
            some = slice(start, start + SCALED_AT_ONCE)
            tensors["action"][some] = action_scale(tensors["action"][some])
    rows: RowSource = MemoryRows(tensors, offset)
    if storage != "memory":
        numbers = np.repeat(np.arange(len(headers)), [h.episodes.num_episodes for h in headers])
        first_row = np.concatenate([header.episodes.offset[:-1] for header in headers])
        read = headers[0].obs | probes
        steps = {f"obs/{key}": (kind.dtype, kind.step_shape) for key, kind in read.items()}
        steps["action"] = (np.dtype(np.float32), (bounds.action_dim,))
        steps["reward"] = (np.dtype(np.float32), ())
        where = (numbers[order], first_row[order], offset, steps)
        if storage == "mapped":
            rows = MappedRows(places, *where)
        else:
            rows = StreamedRows([header.path for header in headers], *where)
    return EpisodeStore(
        rows=rows,
        obs=headers[0].obs,
        probes=probes,
        action_scale=action_scale,
        actions_are_scaled=storage == "memory",
        offset=offset,
        terminated=np.concatenate(terminated)[order],
        has_reward=has_reward[order],
        num_held_out=len(split.held_out),
        num_labelled=len(split.labelled),
    )


def _copy(
    shard: OpenShard,
    name: str,
    wanted: NDArray[np.bool_],
    shift: NDArray[np.int64],
    target: torch.Tensor,
) -> None:
    """Copy the rows of the episodes ``wanted`` (E,), each moved by its ``shift`` (E,)."""
    for start, values in shard.arrays[name].blocks():
        stop = start + len(values)
        chosen = shard.episodes.per_row(wanted, start, stop)
        rows = np.arange(start, stop) + shard.episodes.per_row(shift, start, stop)
        target.numpy()[rows[chosen]] = values[chosen]


def _place(array: ShardArray, cache: Path, *, verify: bool) -> FilePlace:
    if array.file_offset is not None:
        return FilePlace(array.path, array.file_offset)
    return FilePlace(unpacked(array, cache, verify=verify), 0)


def _ends(flags: ShardArray, episodes: EpisodeIndex) -> NDArray[np.bool_]:
    """(E,) the flag of the transition that ends each episode."""
    last = episodes.offset[1:] - 2
    found: list[NDArray[Any]] = []
    for start, values in flags.blocks():
        low, high = np.searchsorted(last, [start, start + len(values)])
        found.append(values[last[low:high] - start])
    return np.concatenate(found)


__all__ = ["load_store"]
