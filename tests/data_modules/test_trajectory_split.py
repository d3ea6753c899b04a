from __future__ import annotations

import itertools

import numpy as np
import pytest
from shard_factory import write_shard

from lawm.data_modules.label_budget import parse_budget
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.trajectory_split import split_episodes
from lawm.errors import LawmError


def split(headers, labels="all", held_out="none", seed=0):
    return split_episodes(
        headers,
        labels=parse_budget(labels, "labels"),
        held_out=parse_budget(held_out, "held_out", may_be_zero=True),
        seed=seed,
    )


@pytest.fixture
def forty(tmp_path):
    """Headers of 40 episodes with actions and 5 without in one shard, 10 action-free in another."""
    first = write_shard(tmp_path / "a.h5", lengths=[6] * 45, has_action=[True] * 40 + [False] * 5)
    second = write_shard(tmp_path / "b.h5", lengths=[5] * 10)
    return read_headers([first], [second])


def test_every_episode_plays_one_part(forty):
    parts = split(forty, labels="12 episodes", held_out="10%")
    assert (len(parts.held_out), len(parts.labelled), len(parts.free)) == (4, 12, 39)
    everything = np.concatenate([parts.held_out, parts.labelled, parts.free])
    assert sorted(everything) == list(range(55))
    assert max(parts.held_out.max(), parts.labelled.max()) < 40  # those with actions to use


def test_all_labels_every_episode_that_may(forty):
    assert split(forty, held_out="none").labelled.tolist() == list(range(40))


@pytest.mark.parametrize("seed", range(4))
def test_budgets_are_nested(forty, seed):
    labelled = [set(split(forty, str(count), "5%", seed).labelled) for count in range(1, 39)]
    assert all(small < large for small, large in itertools.pairwise(labelled))


def test_label_seed_changes_the_labels_but_not_the_held_out(forty):
    parts = [split(forty, "5", "20%", seed) for seed in range(8)]
    assert len({tuple(part.held_out) for part in parts}) == 1
    assert len({tuple(part.labelled) for part in parts}) == 8


def test_share_is_of_the_episodes_that_are_left(forty):
    assert len(split(forty, "50%", "10 episodes").labelled) == 15


def test_no_labelled_episode(tmp_path):
    path = write_shard(tmp_path / "free.h5", lengths=[4, 4], has_action=False)
    with pytest.raises(LawmError, match=r"No episode in data\.shards \(.*free\.h5\) has actions"):
        split(read_headers([path], []))


def test_actions_of_action_free_shards_are_no_labels(tmp_path):
    free = write_shard(tmp_path / "free.h5", lengths=[4, 4], has_action=False)
    full = write_shard(tmp_path / "full.h5", lengths=[4, 4])
    with pytest.raises(LawmError, match="No episode in data"):
        split(read_headers([free], [full]))


def test_budget_above_what_is_there(forty):
    with pytest.raises(LawmError, match=r"data\.labels asks for 39 .* only 38 .*; 2 more are held"):
        split(forty, "39", "5%")


@pytest.mark.parametrize("held_out", ["40", "100%", "all", "55"])
def test_everything_held_out(forty, held_out):
    with pytest.raises(LawmError, match=r"data\.held_out takes \d+ of the 40 .* leaves none"):
        split(forty, held_out=held_out)
