"""The recordings come back from every kind of replay, and what is wrong is a sentence."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from importing import imported
from replay_writers import EXPLORATION_REWARD, REPLAYS, led_into, write_exorl
from source_writers import Recording, recordings

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.registry import FORMATS, importer_named
from lawm.data_modules.importers.run_import import run_import
from lawm.envs import make_env
from lawm.errors import LawmError

WITHOUT_STATES = {"dreamerv2, v-d4rl", "dreamerv2, old v-d4rl", "v-d4rl"}
WITHOUT_IMAGES = {"exorl"}


def in_order(kind: str, made: list[Recording]) -> list[Recording]:
    """DreamerV3's two workers took every second episode each."""
    return made[::2] + made[1::2] if kind == "dreamerv3" else made


@pytest.mark.parametrize("kind", REPLAYS)
def test_every_number_comes_back(tmp_path: Path, kind: str) -> None:
    made = recordings()
    source = REPLAYS[kind](tmp_path, made)
    found = [name for name in FORMATS if importer_named(name).recognises(source).found]
    assert found == [kind.split(",")[0]]
    shard, report = imported(source)
    json.dumps(report.to_dict(), allow_nan=False)
    expected = in_order(kind, made)
    assert shard.episodes.lengths.tolist() == [len(episode.action) for episode in expected]
    assert shard.action is not None
    for episode, start in zip(expected, shard.episodes.offset, strict=False):
        num = len(episode.action)
        rows, steps = slice(start, start + num + 1), slice(start, start + num)
        np.testing.assert_array_equal(shard.action[steps], episode.action)
        assert bool(shard.terminated[start + num - 1]) == episode.terminated
        assert bool(shard.truncated[start + num - 1]) != episode.terminated
        if kind not in WITHOUT_STATES:
            np.testing.assert_array_equal(shard.obs["state"][rows], episode.state)
        if kind not in WITHOUT_IMAGES:
            np.testing.assert_array_equal(shard.obs["image"][rows], episode.image)
        if kind == "exorl":
            assert shard.reward is None and shard.physics is not None
            np.testing.assert_array_equal(shard.physics[rows], episode.state[:, :2])
        else:
            assert shard.reward is not None
            np.testing.assert_array_equal(shard.reward[steps], episode.reward)


@pytest.mark.parametrize("kind", ["exorl", "aime", "dreamerv2, torch", "v-d4rl", "dreamerv3"])
def test_a_single_file(tmp_path: Path, kind: str) -> None:
    file = sorted(REPLAYS[kind](tmp_path, recordings([3, 3])).iterdir())[0]
    shard, report = imported(file)
    assert report.plan.importer.name == kind.split(",")[0]
    assert shard.episodes.num_episodes >= 1


def edit(source: Path, kind: str, **changes: Any) -> None:
    """Put other arrays into the last file of a source; None takes one out."""
    file = sorted(f for f in source.iterdir() if f.is_file())[-1]
    if file.suffix == ".npz":
        with np.load(file) as archive:
            data = {**dict(archive), **changes}
        np.savez(file, **{name: values for name, values in data.items() if values is not None})
        return
    with h5py.File(file, "r+") as open_file:
        for name, values in changes.items():
            del open_file[name]
            if values is not None:
                open_file[name] = values


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no action": ("dreamerv2, torch", {"action": None}, r"-4\.npz has no array `action`; its arr"),
    "no image": ("aime", {"image": None}, r"9\.hdf5 has no array `image`"),
    "objects": ("exorl", {"action": np.full(4, None)}, "`action` of .* holds pickled Python obj"),
    "rows": ("exorl", {"action": np.zeros((9, 2), "f4")}, r"shapes .*'action': \(9, 2\).*the same"),
    "rank": (
        "dreamerv2, torch",
        {"action": np.zeros((4, 2, 2), "f4")},
        r"shape \(4, 2, 2\); expected a vector",
    ),
    "flags": ("aime", {"is_last": np.zeros(9)}, r"`is_last` of .* shape \(9,\); expected a number"),
    "scalar": ("aime", {"pre_action": 1.0}, r"shapes .*'pre_action': \(\).* same number of rows"),
    "whole": ("dreamerv2, torch", {"action": np.zeros((4, 2), "i4")}, "int32; expected floats"),
    "type": ("v-d4rl", {"step_type": np.full(38, 7.0)}, r"`/step_type` .* other than 0 \(first\)"),
    "shard rows": ("v-d4rl", {"reward": np.zeros(3)}, "The datasets of .* 'reward': 3.* same num"),
    "chunk rows": ("dreamerv3", {"reward": np.zeros(1)}, r"`reward` of .* expected the [0-9] rows"),
    "no starts": ("dreamerv3", {"is_first": None}, r"npz has no array `is_first`"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_a_sentence_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    kind, changes, message = FAULTS[case]
    source = REPLAYS[kind](tmp_path, recordings())
    edit(source, kind, **changes)
    with pytest.raises(LawmError, match=message):
        run_import(source, tmp_path / "out.h5", ImportOptions())
    assert not (tmp_path / "out.h5").exists()


def test_rewards_that_the_first_file_lacks_are_not_dropped_without_a_word(tmp_path: Path) -> None:
    source = REPLAYS["aime"](tmp_path, recordings())
    with h5py.File(min(source.iterdir()), "r+") as file:
        del file["reward"]
    with pytest.raises(LawmError, match=r"1\.hdf5 has the array `reward`, which 0\.hdf5 lacks"):
        run_import(source, tmp_path / "out.h5", ImportOptions())


@pytest.mark.parametrize("kind", ["exorl", "aime", "dreamerv3"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    source = REPLAYS[kind](tmp_path, recordings())
    file = sorted(source.iterdir())[-1]
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(LawmError, match=file.name):
        run_import(source, tmp_path / "out.h5", ImportOptions())


@pytest.mark.parametrize("name", ["dreamerv2", "dreamerv3", "exorl", "aime", "v-d4rl"])
def test_an_empty_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(LawmError, match=r"holds no \*\.\w+"):
        run_import(tmp_path, tmp_path / "out.h5", ImportOptions(format=name))


def test_several_episodes_in_one_archive_are_told_apart(tmp_path: Path) -> None:
    parts = [led_into(episode) | {"state": episode.state} for episode in recordings([3, 4])]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    np.savez(tmp_path / "a-b-9.npz", **joined)
    shard, _ = imported(tmp_path / "a-b-9.npz")
    assert shard.episodes.lengths.tolist() == [3, 4]
    assert shard.obs["state"][4, 0] == 1000.0


# ---- ExORL's rewards


def test_the_rewards_of_exploration_are_taken_when_asked_for(tmp_path: Path) -> None:
    source = write_exorl(tmp_path / "buffer", recordings([3, 4]))
    shard, report = imported(source, stored_rewards=True)
    assert shard.reward is not None
    assert np.unique(shard.reward[~np.isnan(shard.reward)]).tolist() == [EXPLORATION_REWARD]
    assert "as asked for" in report.notes[0]
    _, report = imported(source)
    assert "left out: they are those of the exploration task" in report.notes[0]


# The reward of cartpole also charges for the action
@pytest.mark.parametrize("task", ["dm_control/walker-walk", "dm_control/cartpole-swingup"])
def test_rewards_of_a_task_are_computed_from_the_simulators_states(
    tmp_path: Path, task: str
) -> None:
    env, rng = make_env(task, 1, 0), np.random.default_rng(0)
    state, physics, action, reward = [env.reset()["state"]], [env.physics_state()], [], []
    for _ in range(40):
        action.append(rng.uniform(-1, 1, env.action_low.shape).astype(np.float32))
        after, given, _, _ = env.step(action[-1])
        state.append(after["state"])
        physics.append(env.physics_state())
        reward.append(given)
    np.savez(
        tmp_path / "episode_000000_40.npz",
        observation=np.stack(state),
        action=np.stack([np.zeros_like(action[0]), *action]),
        reward=np.full((41, 1), EXPLORATION_REWARD, np.float32),
        discount=np.ones((41, 1), np.float32),
        physics=np.stack(physics),
    )
    shard, report = imported(tmp_path / "episode_000000_40.npz", env_id=task, relabel=True)
    assert shard.reward is not None
    assert np.std(reward) > 1e-4
    np.testing.assert_allclose(shard.reward[:-1], reward, rtol=1e-5, atol=1e-6)
    assert shard.physics is not None
    np.testing.assert_array_equal(shard.physics, np.stack(physics))
    assert task in report.notes[0] and "--relabel" in report.plan.command


def test_relabelling_that_cannot_be(tmp_path: Path) -> None:
    source = write_exorl(tmp_path / "buffer", recordings([3, 3]))
    with pytest.raises(LawmError, match=r"expected the task with --env ID, and no --action-repeat"):
        imported(source, relabel=True)
    with pytest.raises(LawmError, match="--relabel and --stored-rewards contradict"):
        imported(source, relabel=True, stored_rewards=True, env_id="dm_control/pendulum-swingup")
    with pytest.raises(LawmError, match=r"simulator states of .* \(4, 2\); expected 18 finite"):
        imported(source, relabel=True, env_id="dm_control/walker-walk")
    with pytest.raises(LawmError, match="--relabel is not for the format aime"):
        other = REPLAYS["aime"](tmp_path, recordings([3, 3]))
        imported(other, relabel=True, env_id="dm_control/pendulum-swingup")
    with np.load(source / "episode_000000_3.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if name != "physics"}
    np.savez(source / "episode_000000_3.npz", **arrays)
    with pytest.raises(LawmError, match="has no `physics`, and --relabel computes"):
        imported(source, relabel=True, env_id="dm_control/pendulum-swingup")


def test_stacked_frames_are_no_states(tmp_path: Path) -> None:
    source = write_exorl(tmp_path / "buffer", recordings([3]))
    edit(source, "exorl", observation=np.zeros((4, 9, 84, 84), np.uint8))
    with pytest.raises(LawmError, match=r"uint8 of shape \(9, 84, 84\) a row; .* Stacked frames"):
        imported(source)


def test_a_shard_of_v_d4rl_that_begins_within_an_episode(tmp_path: Path) -> None:
    source = REPLAYS["v-d4rl"](tmp_path, recordings([3, 4]))
    with h5py.File(source / "shard_0.hdf5", "r+") as file:
        file["step_type"][0] = 1
    shard, report = imported(source)
    assert shard.episodes.lengths.tolist() == [3, 4]
    assert "begins within an episode (step_type 1)" in report.notes[0]


# ---- What mutated inputs have found


def test_observations_and_actions_of_different_lengths_are_a_sentence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "laom.hdf5", "w") as file:
        file.attrs.update(domain_name="x", task_name="y", difficulty="z", split="train", img_hw=8)
        file["0/obs"] = np.zeros((4, 8, 8, 3), np.uint8)
        file["0/states"] = np.zeros((2000, 3), np.float32)
        file["0/actions"] = np.full((4, 2), 0.5, np.float32)
    with pytest.raises(LawmError, match=r"laom\.hdf5"):
        run_import(tmp_path / "laom.hdf5", tmp_path / "out.h5", ImportOptions(format="laom"))


def test_a_header_with_an_open_bracket_is_a_sentence(tmp_path: Path) -> None:
    source = write_exorl(tmp_path / "buffer", recordings([3]))
    with zipfile.ZipFile(source / "episode_000000_3.npz", "w") as archive:
        for name in ("action", "discount", "observation", "reward"):
            archive.writestr(
                f"{name}.npy", b"\x93NUMPY\x01\x00\x10\x00{'shape': (4, 36\n" + bytes(99)
            )
    with pytest.raises(LawmError, match="has no valid header"):
        imported(source)


def test_what_the_writer_refuses_names_its_source(tmp_path: Path) -> None:
    source = write_exorl(tmp_path / "buffer", recordings([3]))
    edit(source, "exorl", observation=np.full((4, 3), np.inf, np.float32))
    with pytest.raises(LawmError, match=r"NaN, infinite .* It is from .*buffer\.$"):
        imported(source)


def test_an_array_without_a_name_is_none_of_the_known(tmp_path: Path) -> None:
    source = REPLAYS["aime, npz"](tmp_path, recordings([3]))
    edit(source, "aime", **{"": np.zeros((4, 1), np.bool_)})
    shard, _ = imported(source, keys=("state",))
    assert shard.physics is None
