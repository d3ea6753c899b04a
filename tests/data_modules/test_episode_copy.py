from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from shard_factory import write_shard

from lawm.cli import main
from lawm.data_modules.shard_reader import open_shard, read_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError


def run(*words):
    return main(["data", *map(str, words)])


def episodes_of(path):
    """Everything of each episode, as bytes, by its source id and length."""
    shard = read_shard(path, verify=True)
    found = []
    for number in range(shard.episodes.num_episodes):
        rows = slice(*shard.episodes.offset[number : number + 2])
        arrays = {f"obs/{key}": values[rows] for key, values in shard.obs.items()}
        arrays |= {"terminated": shard.terminated[rows], "truncated": shard.truncated[rows]}
        for name in ("action", "reward"):
            values = getattr(shard, name)
            if values is not None and getattr(shard.episodes, f"has_{name}")[number]:
                arrays[name] = values[rows]
        source = shard.episodes.source_id[number]
        found.append({"source": source, **{k: v.tobytes() for k, v in arrays.items()}})
    return found


def without(episode, *names):
    return {key: value for key, value in episode.items() if key not in names}


@pytest.fixture
def shard(tmp_path):
    return write_shard(
        tmp_path / "a.h5",
        lengths=[4 + n % 3 for n in range(10)],
        has_action=[n % 4 > 0 for n in range(10)],
        has_reward=[n % 3 > 0 for n in range(10)],
        counter=False,
        image=True,
        env_id="dm_control/cheetah-run",
    )


def test_merged_shards_hold_every_number(shard, tmp_path):
    other = write_shard(
        tmp_path / "b.h5", lengths=[3, 9], has_action=False, counter=False, seed=1, image=True
    )
    assert run("merge", shard, other, "--out", tmp_path / "all.h5") == 0
    assert episodes_of(tmp_path / "all.h5") == episodes_of(shard) + episodes_of(other)
    meta = read_shard(tmp_path / "all.h5").meta
    assert meta.env_id == "dm_control/cheetah-run"
    assert [source["name"] for source in meta.provenance["sources"]] == ["a.h5", "b.h5"]


def test_a_merge_keeps_the_length_of_a_step(tmp_path):
    """A video knows the length of its steps, but not that two control steps make one."""
    with_actions, video = tmp_path / "a.h5", tmp_path / "b.h5"
    for path, bounds, repeat, step in ((with_actions, [1.0], 2, 0.01), (video, [], 1, 0.02)):
        options = {"action_repeat": repeat, "control_timestep": step}
        low = -np.array(bounds)
        with ShardWriter(path, action_low=low, action_high=bounds, **options) as writer:
            action = np.zeros((3, 1)) if bounds else None
            writer.add_episode(
                {"state": np.ones((4, 2))},
                action,
                None,
                terminated=False,
                truncated=True,
                source_id="",
            )
    for given in ((with_actions, video), (video, with_actions)):
        assert run("merge", *given, "--out", tmp_path / "all.h5", "--overwrite") == 0
        meta = read_shard(tmp_path / "all.h5").meta
        assert (meta.action_repeat, meta.control_timestep, meta.step_seconds) == (2, 0.01, 0.02)


def test_a_merge_of_any_number_of_shards_keeps_their_provenance(tmp_path):
    paths = []
    for number in range(3):
        paths.append(
            write_shard(tmp_path / f"{number}.h5", lengths=[3], seed=number, counter=False)
        )
        with h5py.File(paths[-1], "r+") as file:
            file.attrs["provenance"] = np.bytes_(json.dumps({"command": "x" * 30_000}))
    assert run("merge", *paths, "--out", tmp_path / "all.h5") == 0
    assert run("merge", tmp_path / "all.h5", "--out", tmp_path / "again.h5") == 0
    shard = read_shard(tmp_path / "again.h5", verify=True)
    (source,) = shard.meta.provenance["sources"]
    assert [s["name"] for s in source["provenance"]["sources"]] == ["0.h5", "1.h5", "2.h5"]
    assert run("info", tmp_path / "again.h5") == 0
    with h5py.File(tmp_path / "again.h5", "r+") as file:
        file["provenance"][5] = 0
    with pytest.raises(LawmError, match=r"`/provenance` .*is damaged"):
        read_shard(tmp_path / "again.h5")


def test_a_merge_of_different_layouts_is_refused(shard, tmp_path, capsys):
    other = write_shard(tmp_path / "b.h5", lengths=[3], obs_dim=5, image=True)
    assert run("merge", shard, other, "--out", tmp_path / "all.h5") == 2
    assert "the shards of one data set must agree" in capsys.readouterr().err
    assert not (tmp_path / "all.h5").exists()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_shares_out_the_episodes(shard, tmp_path, seed):
    train, held_out = tmp_path / "train.h5", tmp_path / "held_out.h5"
    assert run("split", shard, train, held_out, "--held-out", "30%", "--seed", seed) == 0
    parts = episodes_of(train), episodes_of(held_out)
    assert [len(part) for part in parts] == [7, 3]
    whole = episodes_of(shard)
    assert sorted(map(str, parts[0] + parts[1])) == sorted(map(str, whole))
    for part in parts:  # in the order that they had
        assert [whole.index(episode) for episode in part] == sorted(map(whole.index, part))


def test_episodes_of_one_origin_are_taken_apart(shard, tmp_path, capsys):
    whole = episodes_of(shard)
    rest, taken = tmp_path / "rest.h5", tmp_path / "taken.h5"
    with open_shard(shard) as file:
        ids = file.episodes.source_id
    assert len(set(ids)) == len(ids) == 10
    assert run("split", shard, rest, taken, "--source", ids[3]) == 0
    assert episodes_of(taken) == [whole[3]]
    assert episodes_of(rest) == whole[:3] + whole[4:]
    for pattern, count in (("nobody/*", 0), ("*", 10)):
        assert run("split", shard, tmp_path / "x.h5", tmp_path / "y.h5", "--source", pattern) == 2
        assert f"fits {count} of the 10 episodes" in capsys.readouterr().err
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("names", [["action"], ["reward"], ["action", "reward"]])
def test_stripped_labels_are_not_in_the_file(shard, tmp_path, names):
    options = [f"--{name}s" for name in names]
    assert run("strip", shard, tmp_path / "free.h5", *options) == 0
    expected = [without(episode, *names) for episode in episodes_of(shard)]
    assert episodes_of(tmp_path / "free.h5") == expected
    stripped = read_shard(tmp_path / "free.h5")
    assert all(getattr(stripped, name) is None for name in names)


def test_named_episodes_keep_their_labels(shard, tmp_path):
    labels, target = tmp_path / "labels.json", tmp_path / "few.h5"
    assert run("label", shard, "--out", labels, "--labels", "2", "--held-out", "1") == 0
    assert run("strip", shard, target, "--actions", "--rewards", "--keep", labels) == 0
    (entry,) = json.loads(labels.read_text())["shards"]
    kept = {*entry["labelled"], *entry["held_out"]}
    for number, (before, after) in enumerate(
        zip(episodes_of(shard), episodes_of(target), strict=True)
    ):
        assert after == (before if number in kept else without(before, "action", "reward"))


def test_nothing_is_overwritten_unasked_and_sources_never(shard, tmp_path, capsys):
    before = shard.read_bytes()
    taken = tmp_path / "taken.h5"
    taken.write_text("mine")
    commands = (
        ("merge", shard, "--out", taken),
        ("split", shard, tmp_path / "train.h5", taken),
        ("strip", shard, taken, "--actions"),
    )
    for command in commands:
        assert run(*command) == 2
        assert "exists already and is left as it is" in capsys.readouterr().err
        assert taken.read_text() == "mine"
    assert not (tmp_path / "train.h5").exists()
    for command in (
        ("merge", shard, "--out", shard),
        ("split", shard, taken, shard),
        ("split", shard, taken, taken),
        ("strip", shard, shard, "--actions"),
    ):
        assert run(*command, "--overwrite") == 2
        assert "is named twice" in capsys.readouterr().err
    assert shard.read_bytes() == before
    assert run("strip", shard, taken, "--actions", "--overwrite") == 0
    assert len(episodes_of(taken)) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "taken.h5"]


def test_mistakes_are_sentences(shard, tmp_path, capsys):
    target = tmp_path / "x.h5"
    assert run("strip", shard, target) == 2
    assert "give --actions, --rewards or both" in capsys.readouterr().err
    assert run("split", shard, target, tmp_path / "y.h5", "--held-out", "all") == 2
    assert "leave none to train on" in capsys.readouterr().err
    assert run("split", shard, target, tmp_path / "y.h5", "--seed", -1) == 2
    assert "--seed is -1; expected a whole number from 0" in capsys.readouterr().err
    other = write_shard(tmp_path / "b.h5", lengths=[3, 9])
    run("label", other, "--out", tmp_path / "labels.json", "--held-out", "none")
    arguments = ("strip", shard, target, "--actions", "--keep", tmp_path / "labels.json")
    assert run(*arguments) == 2
    assert "no shard in it has its checksum" in capsys.readouterr().err
    assert not target.exists()


def test_memory_stays_flat(tmp_path):
    """A copy holds one episode, not the shard."""
    import tracemalloc

    path = write_shard(tmp_path / "long.h5", lengths=[900] * 40, obs_dim=200, counter=False)
    size = read_shard(path).obs["state"].nbytes
    tracemalloc.start()
    assert run("merge", path, "--out", tmp_path / "copy.h5") == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 28e6
    assert peak < 0.8 * size + 17e6 and np.isfinite(peak)  # a block of 16 MiB is checked at a time
