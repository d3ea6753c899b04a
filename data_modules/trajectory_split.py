"""Which episode of the shards plays which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.label_budget import (
    HELD_OUT_STREAM,
    LABEL_STREAM,
    EpisodeBudget,
    choose_episodes,
)
from lawm.data_modules.label_coverage import coverage_order
from lawm.data_modules.shard_headers import ShardHeader
from lawm.errors import LawmError

LabelChoice = Literal["random", "coverage"]


@dataclass(frozen=True, eq=False)
class EpisodeSplit:
    """The parts that the episodes play, numbered through all shards in their order; all sorted."""

    held_out: NDArray[np.int64]  # with labels, for measuring only
    labelled: NDArray[np.int64]  # training, with labels
    free: NDArray[np.int64]  # training, action-free


def split_episodes(
    headers: Sequence[ShardHeader],
    *,
    labels: EpisodeBudget,
    held_out: EpisodeBudget,
    seed: int,
    choice: LabelChoice = "random",
) -> EpisodeSplit:
    """Choose the held-out episodes, then the labelled ones; all others are action-free.

    Both come from the episodes with actions under data.shards. The held-out ones are random and do
    not depend on the seed, so that what is measured on them compares between label seeds and
    choices. A share for ``labels`` is of the episodes that are left.

    Args:
        headers: The shards.
        labels: How many are labelled.
        held_out: How many are held out.
        seed: Which are labelled.
        choice: At ``random``, or by ``coverage``: those that the observations of the others lie
            near to (:mod:`lawm.data_modules.label_coverage`).

    Raises:
        LawmError: No episode has actions, a budget is above what is there, or there is no such
            choice.
    """
    if choice not in get_args(LabelChoice):
        raise LawmError(
            f"data.label_choice is {choice!r}; expected {' or '.join(get_args(LabelChoice))}."
        )
    can_label = np.concatenate([h.episodes.has_action & h.may_label for h in headers])
    candidates = np.flatnonzero(can_label)
    if len(candidates) == 0:
        raise LawmError(
            f"No episode in data.shards ({_names(headers)}) has actions; expected at least one "
            "labelled episode. Add a shard with actions."
        )
    num_held_out = held_out.num_episodes(len(candidates))
    if num_held_out >= len(candidates):
        raise LawmError(
            f"data.held_out takes {num_held_out} of the {len(candidates)} episodes with actions "
            f"({_names(headers)}) and leaves none to train on. Set it lower, or to none."
        )
    chosen_held_out = choose_episodes(candidates, num_held_out, seed=0, stream=HELD_OUT_STREAM)
    candidates = np.setdiff1d(candidates, chosen_held_out)
    num_labels = labels.num_episodes(len(candidates))
    if num_labels > len(candidates):
        raise LawmError(
            f"data.labels asks for {num_labels} labelled episodes, but only {len(candidates)} with "
            f"actions are there ({_names(headers)}; {num_held_out} more are held out). Ask for "
            "fewer, or write all."
        )
    if choice == "coverage" and 0 < num_labels < len(candidates):
        training = np.setdiff1d(np.arange(len(can_label)), chosen_held_out)
        labelled = np.sort(coverage_order(headers, candidates, training, num_labels, seed=seed))
    else:
        labelled = choose_episodes(candidates, num_labels, seed=seed, stream=LABEL_STREAM)
    known = np.concatenate([chosen_held_out, labelled])
    free = np.setdiff1d(np.arange(len(can_label)), known)
    return EpisodeSplit(held_out=chosen_held_out, labelled=labelled, free=free)


def _names(headers: Sequence[ShardHeader]) -> str:
    return ", ".join(str(header.path) for header in headers if header.may_label)


def locate_episode(
    headers: Sequence[ShardHeader], split: EpisodeSplit, number: int
) -> tuple[Path, int]:
    """The shard of an episode, and its number in there.

    Args:
        headers: In the order by which the split numbers their episodes.
        split: The part that each episode plays.
        number: Where the held-out episodes come first, then the labelled, then the action-free.
    """
    number = int(np.concatenate([split.held_out, split.labelled, split.free])[number])
    for header in headers:
        if number < header.episodes.num_episodes:
            return header.path, number
        number -= header.episodes.num_episodes
    raise IndexError(number)


__all__ = ["EpisodeSplit", "LabelChoice", "locate_episode", "split_episodes"]
