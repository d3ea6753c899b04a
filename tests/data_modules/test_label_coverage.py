from __future__ import annotations

import itertools
import json

import h5py
import numpy as np
import pytest

from lawm.cli import main
from lawm.data_modules import label_coverage
from lawm.data_modules.label_budget import parse_budget
from lawm.data_modules.label_coverage import greedy_cover
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.shard_writer import ShardWriter
from lawm.data_modules.trajectory_split import split_episodes
from lawm.errors import LawmError

PLACES = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])


def write_places(path, places, *, seed=0, pictures=False, labels=True, garbage=1.0):
    """An episode a place: observations around it, or pictures of its brightness; 20 steps."""
    rng = np.random.default_rng(seed)
    ones = np.ones(1)
    with ShardWriter(path, action_low=-ones, action_high=ones) as writer:
        for place in places:
            around = PLACES[place] + 0.1 * rng.standard_normal((21, 2))
            obs = {"state": around.astype(np.float32)}
            if pictures:
                picture = np.zeros((21, 12, 12, 3), np.uint8)
                picture[:, :6] = 20 * np.uint8(PLACES[place][0])
                picture[:, 6:] = 20 * np.uint8(PLACES[place][1])
                obs = {"camera": picture}
            writer.add_episode(
                obs,
                action=garbage * 0.1 * np.ones((20, 1), np.float32) if labels else None,
                reward=garbage * np.ones(20, np.float32) if labels else None,
                terminated=False,
                truncated=True,
                source_id="made",
            )
    return path


def chosen(paths, labels, *, free=(), seed=0, choice="coverage", held_out="none"):
    headers = read_headers(paths, list(free))
    return split_episodes(
        headers,
        labels=parse_budget(labels, "labels"),
        held_out=parse_budget(held_out, "held_out", may_be_zero=True),
        seed=seed,
        choice=choice,
    )


def test_greedy_cover_takes_what_brings_most_first():
    # distances of 3 candidates to 4 references, worked out by hand: means 2.5, 2.25, 3
    distance = np.array([[0.0, 0.0, 5.0, 5.0], [1.0, 1.0, 3.0, 4.0], [6.0, 6.0, 0.0, 0.0]])
    # after candidate 1: with 0 the mean is (0 + 0 + 3 + 4) / 4, with 2 it is (1 + 1 + 0 + 0) / 4
    assert greedy_cover(distance, 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_of_episode_is_labelled_once(tmp_path, seed, pictures):
    places = [0] * 17 + [1] * 2 + [2] + [3] * 4  # four at random would hit all four 1 time in 80
    path = write_places(tmp_path / "a.h5", places, pictures=pictures)
    labelled = chosen([path], "4", seed=seed).labelled
    assert sorted(places[e] for e in labelled) == [0, 1, 2, 3]


def test_budgets_are_nested(tmp_path):
    path = write_places(tmp_path / "a.h5", [0, 1, 2, 3] * 3)
    budgets = [set(chosen([path], str(count)).labelled) for count in range(1, 13)]
    assert [len(budget) for budget in budgets] == list(range(1, 13))
    assert all(small < large for small, large in itertools.pairwise(budgets))


def test_the_action_free_shards_are_covered_too(tmp_path):
    mine = write_places(tmp_path / "mine.h5", [0, 0, 0, 3])
    videos = write_places(tmp_path / "videos.h5", [3] * 40, seed=1, labels=False)
    assert chosen([mine], "1").labelled.tolist() != [3]
    assert chosen([mine], "1", free=[videos]).labelled.tolist() == [3]


def test_actions_and_rewards_do_not_matter(tmp_path):
    places = [0, 1, 2, 3, 3, 2]
    plain = write_places(tmp_path / "plain.h5", places)
    other = write_places(tmp_path / "other.h5", places, garbage=-7.0)
    with h5py.File(plain) as a, h5py.File(other) as b:
        assert not np.array_equal(a["reward"], b["reward"], equal_nan=True)
    for count in ("1", "2", "3"):
        assert chosen([plain], count).labelled.tolist() == chosen([other], count).labelled.tolist()


def test_held_out_episodes_are_those_of_a_random_choice(tmp_path):
    path = write_places(tmp_path / "a.h5", [0, 1, 2, 3] * 5)
    covering = chosen([path], "4", held_out="4")
    at_random = chosen([path], "4", held_out="4", choice="random")
    assert covering.held_out.tolist() == at_random.held_out.tolist()
    assert not np.intersect1d(covering.labelled, covering.held_out).size


def test_many_candidates_are_looked_at_in_part(tmp_path, monkeypatch):
    path = write_places(tmp_path / "a.h5", [0, 1, 2, 3] * 5)
    monkeypatch.setattr(label_coverage, "MAX_CANDIDATES", 5)
    few = [tuple(chosen([path], "2", seed=seed).labelled) for seed in range(6)]
    assert len(set(few)) > 1  # other seeds look at other episodes
    with pytest.warns(UserWarning, match=r"looks at 12 of the 20 episodes.* 12 of them are to be"):
        assert len(chosen([path], "12").labelled) == 12


def test_all_labels_need_no_choice(tmp_path):
    path = write_places(tmp_path / "a.h5", [0, 1, 2])
    assert chosen([path], "all").labelled.tolist() == [0, 1, 2]


def test_unknown_choice_is_a_sentence(tmp_path):
    path = write_places(tmp_path / "a.h5", [0, 1])
    with pytest.raises(LawmError, match=r"label_choice is 'best'; expected random or coverage\."):
        MixedTrajectoryDataModule(str(path), labels="1", label_choice="best").setup()


def test_label_file_names_the_same_episodes(tmp_path, capsys):
    path = write_places(tmp_path / "a.h5", [0, 0, 1, 2, 3, 3])
    out = tmp_path / "labels.json"
    arguments = ["--labels", "4", "--held-out", "none", "--label-choice", "coverage"]
    assert main(["data", "label", str(path), "--out", str(out), *arguments]) == 0
    capsys.readouterr()
    content = json.loads(out.read_text())
    assert content["label_choice"] == "coverage"
    assert content["shards"][0]["labelled"] == chosen([path], "4").labelled.tolist()


def test_choose_lists_what_to_label_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    mine = write_places(tmp_path / "a.h5", [0, 0, 0, 0, 1], labels=False)
    more = write_places(tmp_path / "b.h5", [2, 0], seed=1, labels=False)
    assert main(["data", "choose", str(mine), str(more), "--episodes", "3"]) == 0
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "made" in line]
    assert [line[1].strip() for line in lines] == ["1", "2", "3"]
    # the crowd first, then one of each place apart
    assert lines[0][2].strip().endswith("a.h5")
    rest = {(line[2].strip()[-4:], line[3].strip()) for line in lines[1:]}
    assert rest == {("a.h5", "4"), ("b.h5", "0")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", "9"], "--episodes is 9; expected 1 to 2, as many as there are in"),
        (["--episodes", "0"], "--episodes is 0; expected 1 to 2"),
        (["--seed", "-1"], "--seed is -1; expected a whole number from 0"),
    ],
)
def test_choose_refuses_in_a_sentence(tmp_path, capsys, arguments, message):
    path = write_places(tmp_path / "a.h5", [0, 1])
    assert main(["data", "choose", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err
