"""What is peculiar to one format or another."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from importing import imported
from source_writers import (
    recordings,
    write_d4rl,
    write_laom,
    write_minari,
    write_ogbench,
    write_robomimic,
)

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

# D4RL


def test_an_unfinished_last_episode_of_d4rl_is_kept_as_truncated(tmp_path: Path) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([3, 4]))
    with h5py.File(source, "a") as file:
        file["terminals"][-1] = file["timeouts"][-1] = False
    shard, report = imported(source)
    assert shard.episodes.lengths.tolist() == [3, 4]
    assert shard.truncated[-2] and not shard.terminated[-2]
    assert "the last episode of 4 rows has no end in the file" in report.notes[0]


def test_d4rl_without_timeouts_must_be_told_where_to_cut(tmp_path: Path) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([7, 5], [1]), timeouts=False)
    with pytest.raises(LawmError, match=r"no `timeouts`.* Say it with --max-episode-steps"):
        imported(source)
    shard, _ = imported(source, max_episode_steps=4)
    assert shard.episodes.lengths.tolist() == [4, 4, 4]
    assert shard.terminated.sum() == 1


def test_terminal_states_that_d4rl_does_not_hold_are_told(tmp_path: Path) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([3, 4, 5], [0, 2]), final=False)
    shard, report = imported(source)
    assert not shard.terminated.any()
    assert report.notes[0].startswith("2 of 3 episodes end in a terminal state that is not in")


@pytest.mark.parametrize("name", ["terminals", "rewards"])
def test_d4rl_columns(tmp_path: Path, name: str) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([3, 4]))
    expected, _ = imported(source)
    with h5py.File(source, "a") as file:
        values = file[name][()][:, None].astype(np.float32)
        del file[name]
        file[name] = values
    found, _ = imported(source)
    np.testing.assert_array_equal(found.reward, expected.reward)
    np.testing.assert_array_equal(found.terminated, expected.terminated)


def test_d4rl_arrays_of_unequal_length(tmp_path: Path) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([3, 4]))
    with h5py.File(source, "a") as file:
        values = file["rewards"][:-1]
        del file["rewards"]
        file["rewards"] = values
    with pytest.raises(LawmError, match=r"'rewards': 6.* rows; expected the same number of each"):
        imported(source)


def test_an_episode_of_d4rl_that_was_not_cut_is_told(tmp_path: Path) -> None:
    source = write_d4rl(tmp_path / "a.hdf5", recordings([3, 4, 5]))
    assert not imported(source)[1].notes
    with h5py.File(source, "a") as file:
        file["timeouts"][2] = False
    _, report = imported(source)
    assert report.notes[0].startswith("in 1 of the first 12 rows, the first of them row 2, next_o")


# Minari


@pytest.mark.parametrize("even", [False, True], ids=["any length", "all of one length"])
def test_jpeg_frames_are_those_that_minari_reads(tmp_path: Path, even: bool) -> None:
    import minari

    made = recordings([3, 4])
    if not even:  # frames that need different numbers of bytes
        rng = np.random.default_rng(0)
        for episode in made:
            episode.image[1] = rng.integers(0, 256, episode.image[1].shape)
    source = write_minari(tmp_path, made, kind="image")
    with h5py.File(source / "data" / "main_data.hdf5") as file:
        assert (h5py.check_vlen_dtype(file["episode_0/observations"].dtype) is None) == even
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
        expected = [e.observations for e in minari.load_dataset("made/up-v0").iterate_episodes()]
    shard, report = imported(source)
    np.testing.assert_array_equal(shard.obs["image"], np.concatenate(expected))
    assert "decoded from JPEG" in report.notes[0]


def test_the_bounds_are_those_of_minaris_action_space(tmp_path: Path) -> None:
    shard, report = imported(write_minari(tmp_path, recordings([3])))
    assert shard.meta.action_low.tolist() == [-2.0, -2.0]
    assert report.plan.bounds.reason == "stated by the source"


@pytest.mark.parametrize("part", ["", "data", "data/main_data.hdf5"])
def test_a_minari_data_set_by_any_of_its_paths(tmp_path: Path, part: str) -> None:
    source = write_minari(tmp_path, recordings([3, 4]))
    path = tmp_path / "out.h5"
    report = run_import(source / part, path, ImportOptions())
    assert report.plan.importer.name == "minari"
    assert len(report.source_sha256) == 64
    assert read_shard(path).episodes.source_id == ["up-v0/episode_0", "up-v0/episode_1"]


# robomimic


def test_a_filter_of_robomimic(tmp_path: Path) -> None:
    masks = {"train": ["demo_10", "demo_2"], "broken": ["demo_99"]}
    source = write_robomimic(tmp_path / "a.hdf5", recordings(), masks=masks)
    shard, report = imported(source, filter="train")
    assert shard.episodes.source_id == ["a/demo_2", "a/demo_10"]
    assert "--filter train" in report.plan.command
    _, report = imported(source)
    assert "--filter takes broken, train" in report.notes[0]
    with pytest.raises(LawmError, match="does not have; its filters are broken, train"):
        imported(source, filter="valid")
    with pytest.raises(LawmError, match=r"`/mask/broken` of .* names demo_99"):
        imported(source, filter="broken")


def test_raw_demonstrations_of_robomimic_give_simulator_states(tmp_path: Path) -> None:
    made = recordings([4, 3])
    shard, report = imported(write_robomimic(tmp_path / "a.hdf5", made, obs=False))
    assert list(shard.obs) == ["states"]
    np.testing.assert_array_equal(shard.obs["states"][:4], made[0].state[:4])
    assert shard.reward is None
    assert shard.meta.control_timestep == 0.05
    assert report.plan.env_name == "Lift"
    with pytest.raises(LawmError, match=r"0.1 s, but that of .*a.hdf5 is 0.05 s .* Leave out"):
        imported(tmp_path / "a.hdf5", control_timestep=0.1)


def test_simulator_states_of_robomimic_are_imported_when_asked_for(tmp_path: Path) -> None:
    source = write_robomimic(tmp_path / "a.hdf5", recordings([4]), final=False)
    shard, report = imported(source, keys=("states=physics", "robot0_eef_pos"))
    assert sorted(shard.obs) == ["physics", "robot0_eef_pos"]
    assert report.plan.left_out["agentview_image"] == "not among --keys"


# OGBench


def test_simulator_state_of_ogbench_is_imported_when_asked_for(tmp_path: Path) -> None:
    made = recordings([4, 3])
    source = write_ogbench(tmp_path / "a.npz", made)
    assert list(imported(source)[0].obs) == ["state"]
    shard, _ = imported(source, keys=("observations=state", "qpos"))
    np.testing.assert_array_equal(shard.obs["qpos"][:5], made[0].state[:, :2])


def test_an_unfinished_last_trajectory_of_ogbench_is_told(tmp_path: Path) -> None:
    source = write_ogbench(tmp_path / "a.npz", recordings([4, 3]))
    with np.load(source) as archive:
        arrays = {name: rows[:-2] for name, rows in archive.items()}
    np.savez(source, **arrays)
    shard, report = imported(source)
    assert shard.episodes.lengths.tolist() == [4, 1]
    assert "the last trajectory has no end" in report.notes[0]


def test_discrete_actions_of_ogbench_are_refused(tmp_path: Path) -> None:
    source = write_ogbench(tmp_path / "a.npz", recordings([4, 3]))
    with np.load(source) as archive:
        arrays = dict(archive)
    arrays["actions"] = arrays["actions"].astype(np.int32)
    np.savez(source, **arrays)
    with pytest.raises(LawmError, match="type int32; expected floats, as lawm models continuous"):
        imported(source)
    assert imported(source, action_free=True)[0].action is None


# LAOM


def test_laom_names_its_environment_and_has_no_rewards(tmp_path: Path) -> None:
    shard, report = imported(write_laom(tmp_path / "a.hdf5", recordings([4, 3])))
    assert report.plan.env_name == "walker run easy"
    assert shard.meta.env_id == ""
    assert "no reward per step" in report.notes[0]


# All


def test_episodes_of_one_observation_are_dropped_and_told(tmp_path: Path) -> None:
    _, report = imported(write_d4rl(tmp_path / "a.hdf5", recordings([1, 4, 1]), final=False))
    assert report.counts is not None
    assert (report.counts.too_short, report.counts.lengths) == (2, [3])
    with pytest.raises(LawmError, match="holds no episode of two observations or more"):
        imported(write_d4rl(tmp_path / "b.hdf5", recordings([1]), final=False))
