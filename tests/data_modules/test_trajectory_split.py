from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from shard_factory import write_shard

from lawm.data_modules.label_budget import parse_budget
from lawm.data_modules.shard_headers import find_shards, read_headers
from lawm.data_modules.shard_writer import ShardWriter
from lawm.data_modules.trajectory_split import split_episodes
from lawm.errors import LawmError

LOW, HIGH = -np.ones(2), np.ones(2)


def split(headers, labels="all", held_out="none", seed=0):
    return split_episodes(
        headers,
        labels=parse_budget(labels, "labels"),
        held_out=parse_budget(held_out, "held_out", may_be_zero=True),
        seed=seed,
    )


def write_one(path, *, obs=None, low=LOW, high=HIGH, **meta):
    """A shard of one episode of four steps."""
    with ShardWriter(path, action_low=low, action_high=high, **meta) as writer:
        writer.add_episode(
            obs or {"state": np.random.default_rng(len(path.name)).normal(size=(5, 3))},
            np.zeros((4, len(low))) if len(low) else None,
            None,
            terminated=False,
            truncated=True,
            source_id="",
        )
    return path


@pytest.fixture
def forty(tmp_path):
    """Headers of 40 episodes with actions and 5 without in one shard, 10 action-free in another."""
    first = write_shard(tmp_path / "a.h5", lengths=[6] * 45, has_action=[True] * 40 + [False] * 5)
    second = write_shard(tmp_path / "b.h5", lengths=[5] * 10)
    return read_headers([first], [second])


def test_find_shards_expands_and_sorts(tmp_path, monkeypatch):
    names = ["b.h5", "a.h5", "deep/c.h5", "with[bracket].h5"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_shards(["?.h5"], "shards") == [Path("a.h5"), Path("b.h5")]
    assert find_shards(["**/c.h5"], "shards") == [Path("deep/c.h5")]
    assert find_shards(["with[bracket].h5"], "shards") == [Path("with[bracket].h5")]
    assert find_shards([f"{tmp_path}/*.h5"], "shards") == [
        tmp_path / name for name in ("a.h5", "b.h5", "with[bracket].h5")
    ]
    assert find_shards(["~/b.h5", "a.h5"], "shards") == [tmp_path / "b.h5", Path("a.h5")]


@pytest.mark.parametrize("pattern", ["no.h5", "no*.h5", "/no/where/*.h5"])
def test_no_such_file(pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LawmError, match=r"data\.shards names '.*', but there is no such file \(.*"):
        find_shards([pattern], "shards")


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


def test_same_data_twice(tmp_path):
    first = write_shard(tmp_path / "a.h5", lengths=[4, 5])
    again = write_shard(tmp_path / "copy.h5", lengths=[4, 5])
    with pytest.raises(LawmError, match=r"a\.h5 and .*copy\.h5 hold the same data.*leak"):
        read_headers([first], [again])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("env_id", {"env_id": "dm_control/walker-walk"}),
        ("action_repeat", {"action_repeat": 4}),
        ("control_timestep", {"control_timestep": 0.02}),
        ("action_low", {"low": 2 * LOW}),
        ("action_high", {"high": 2 * HIGH}),
        ("action_low", {"low": -np.ones(3), "high": np.ones(3)}),
    ],
)
def test_shards_that_disagree(tmp_path, name, change):
    meta = {"env_id": "dm_control/cheetah-run", "action_repeat": 2, "control_timestep": 0.01}
    first = write_one(tmp_path / "a.h5", **meta)
    other = write_one(tmp_path / "other.h5", **(meta | change))
    with pytest.raises(LawmError, match=rf"other\.h5 has {name} .*, but .*a\.h5 has .* must agree"):
        read_headers([first, other], [])


def test_what_a_shard_does_not_know_agrees(tmp_path):
    known = {"env_id": "dm_control/cheetah-run", "control_timestep": 0.01}
    unknown = write_one(tmp_path / "unknown.h5", low=[], high=[])
    first = write_one(tmp_path / "a.h5", **known)
    other = write_one(tmp_path / "other.h5", **(known | {"env_id": "dm_control/cheetah-walk"}))
    assert len(read_headers([unknown, first], [])) == 2
    with pytest.raises(LawmError, match="env_id"):
        read_headers([unknown, first, other], [])
