"""Shards made from shards: merged, split or stripped of labels, one episode in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.episode import Episode
from lawm.data_modules.label_budget import HELD_OUT_STREAM, choose_episodes, parse_budget
from lawm.data_modules.label_file import read_label_file
from lawm.data_modules.shard_headers import ShardHeader, agreed_timing, read_headers
from lawm.data_modules.shard_reader import OpenShard, open_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError

Keeps = Callable[[OpenShard, int], bool]  # of an episode, by its number in the shard


def always(shard: OpenShard, episode: int) -> bool:
    """Keep it."""
    del shard, episode
    return True


def copy_episodes(
    headers: Sequence[ShardHeader],
    target: Path,
    *,
    command: str,
    episodes: Keeps = always,
    actions: Keeps = always,
    rewards: Keeps = always,
    overwrite: bool = False,
) -> int:
    """Write a shard with episodes of others, in their order; every number that is kept is the same.

    Args:
        headers: The sources, which fit together.
        target: The shard to write.
        command: For its provenance.
        episodes: Which are copied.
        actions: Which keep their actions.
        rewards: Which keep their rewards.
        overwrite: Replace an existing file.

    Returns:
        Episodes written.

    Raises:
        LawmError: A source is damaged, or the target cannot be written.
    """
    metas = [header.meta for header in headers]
    bounds = next((meta for meta in metas if meta.action_dim > 0), metas[0])
    action_repeat, control_timestep = agreed_timing(metas)
    sources = [
        {"name": h.path.name, "checksum": h.meta.checksum, "provenance": h.meta.provenance}
        for h in headers
    ]
    with ShardWriter(
        target,
        action_low=bounds.action_low,
        action_high=bounds.action_high,
        env_id=max(meta.env_id for meta in metas),
        action_repeat=action_repeat,
        control_timestep=control_timestep,
        provenance={"command": command, "sources": sources},
        # where some pictures are of unknown origin, all of the copy are
        renderer=headers[0].renderer if all(header.renderer for header in headers) else None,
        overwrite=overwrite,
        is_copy=True,
    ) as writer:
        for header in headers:
            with open_shard(header.path) as shard:
                shard.check(hashes=True)
                for number in range(shard.episodes.num_episodes):
                    if episodes(shard, number):
                        wanted = {
                            "action": actions(shard, number),
                            "reward": rewards(shard, number),
                        }
                        writer.add(read_episode(shard, number, **wanted))
        return writer.num_episodes


def merge_shards(paths: Sequence[Path], target: Path, *, overwrite: bool = False) -> int:
    """Write the episodes of some shards of one layout into one; see :func:`copy_episodes`."""
    refuse_same(paths, [target])
    headers = read_headers(list(paths), [])
    return copy_episodes(headers, target, command="lawm data merge", overwrite=overwrite)


def split_shard(
    path: Path,
    train: Path,
    held_out: Path,
    *,
    budget: str,
    seed: int = 0,
    source: str | None = None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Write the episodes of a shard into two, one to train on and one to measure on.

    Args:
        path: The shard.
        train: The larger part.
        held_out: The other one.
        budget: Episodes to hold out, such as "10%" or "12 episodes".
        seed: Which; a smaller budget with the same seed is part of a larger one.
        source: Instead of a budget: pattern of the source ids of ``held_out``, as "sac/rollout*".
        overwrite: Replace existing files.

    Returns:
        Episodes in ``train`` and in ``held_out``.

    Raises:
        LawmError: A part would have no episode; else as :func:`copy_episodes`.
    """
    refuse_same([path], [train, held_out])
    for target in (train, held_out):
        if target.exists() and not overwrite:
            raise LawmError(
                f"{target} exists already and is left as it is. Choose another name, or allow it "
                "with --overwrite."
            )
    (header,) = read_headers([path], [])
    if source is None:
        chosen = _chosen_by_budget(header, budget, seed)
        command = f"lawm data split --held-out '{budget}' --seed {seed}"
    else:
        chosen = _chosen_by_source(header, source)
        command = f"lawm data split --source '{source}'"
    options: dict[str, Any] = {"command": command, "overwrite": overwrite}
    return (
        copy_episodes([header], train, episodes=lambda _, number: number not in chosen, **options),
        copy_episodes([header], held_out, episodes=lambda _, number: number in chosen, **options),
    )


def _chosen_by_budget(header: ShardHeader, budget: str, seed: int) -> set[int]:
    num = header.episodes.num_episodes
    count = parse_budget(budget, "held_out").num_episodes(num)
    if count >= num:
        raise LawmError(f"{budget} of the {num} episodes of {header.path} leave none to train on.")
    return set(choose_episodes(np.arange(num), count, seed=seed, stream=HELD_OUT_STREAM).tolist())


def _chosen_by_source(header: ShardHeader, pattern: str) -> set[int]:
    ids = header.episodes.source_id
    chosen = {number for number, text in enumerate(ids) if fnmatchcase(text, pattern)}
    if not chosen or len(chosen) == len(ids):
        raise LawmError(
            f"--source {pattern} fits {len(chosen)} of the {len(ids)} episodes of {header.path}; "
            f"expected some but not all. Their source ids are such as '{ids[0]}' and '{ids[-1]}'."
        )
    return chosen


def strip_shard(
    path: Path,
    target: Path,
    *,
    actions: bool,
    rewards: bool,
    keep: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Write a copy of a shard without actions, rewards or both.

    Args:
        path: The shard.
        target: The copy.
        actions: Take the actions away.
        rewards: Take the rewards away.
        keep: A label file; its labelled and held-out episodes keep what they have.
        overwrite: Replace an existing file.

    Returns:
        Episodes that kept everything.

    Raises:
        LawmError: Nothing is to be taken away, or the label file does not know the shard; else as
            :func:`copy_episodes`.
    """
    if not actions and not rewards:
        raise LawmError(f"Nothing is to be taken from {path}: give --actions, --rewards or both.")
    refuse_same([path], [target])
    (header,) = read_headers([path], [])
    kept: set[int] = set()
    if keep is not None:
        labels = read_label_file(keep).get(header.meta.checksum)
        if labels is None:
            raise LawmError(f"{keep} knows nothing of {path}: no shard in it has its checksum.")
        kept = {*labels.labelled, *labels.held_out}
    copy_episodes(
        [header],
        target,
        command="lawm data strip" + " --actions" * actions + " --rewards" * rewards,
        actions=lambda _, number: not actions or number in kept,
        rewards=lambda _, number: not rewards or number in kept,
        overwrite=overwrite,
    )
    return len(kept)


def read_episode(
    shard: OpenShard, number: int, *, action: bool = True, reward: bool = True
) -> Episode:
    """An episode of a shard.

    Args:
        shard: An open one.
        number: Of the episode.
        action: Read its actions, if it has any.
        reward: Likewise.

    Raises:
        LawmError: It is damaged.
    """
    index, arrays = shard.episodes, shard.arrays
    start, stop = int(index.offset[number]), int(index.offset[number + 1])

    def rows(name: str, end: int) -> NDArray[Any]:
        return arrays[name].read(start, end)

    return Episode(
        obs={key: array.read(start, stop) for key, array in shard.obs.items()},
        action=rows("action", stop - 1) if index.has_action[number] and action else None,
        reward=rows("reward", stop - 1) if index.has_reward[number] and reward else None,
        terminated=bool(rows("terminated", stop - 1)[-1]),
        truncated=bool(rows("truncated", stop - 1)[-1]),
        source_id=index.source_id[number],
        physics=rows("physics", stop) if "physics" in arrays else None,
    )


def refuse_same(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """A shard is never written over one that it is made from, --overwrite or not."""
    seen = {path.resolve() for path in sources}
    for target in targets:
        if target.resolve() in seen:
            raise LawmError(f"{target} is named twice; what is written needs a name of its own.")
        seen.add(target.resolve())


__all__ = [
    "copy_episodes",
    "merge_shards",
    "read_episode",
    "refuse_same",
    "split_shard",
    "strip_shard",
]
