from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.import_report import ImportReport
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

E, T, D, A = 3, 6, 17, 6  # the sizes of cheetah-run


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {
        "obs": rng.normal(size=(E, T + 1, D)).astype(np.float32),
        "act": rng.uniform(-1.0, 1.0, size=(E, T, A)).astype(np.float32),
        "rew": rng.uniform(0.0, 2.0, size=(E, T)).astype(np.float32),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def archive(folder: Path, **changes: Any) -> Path:
    path = folder / "source.npz"
    np.savez(path, **arrays(**changes))
    return path


def import_numpy(source: Path, path: Path, **options: Any) -> ImportReport:
    return run_import(source, path, ImportOptions(**options))


def test_every_number_comes_back(tmp_path: Path) -> None:
    report = import_numpy(
        archive(tmp_path), tmp_path / "x.h5", env_id="dm_control/cheetah-run", action_repeat=2
    )
    counts = report.counts
    assert counts is not None and counts.lengths == [T] * E
    assert (counts.with_actions, counts.with_rewards) == (E, E)
    shard, expected = read_shard(tmp_path / "x.h5", verify=True), arrays()
    assert shard.action is not None and shard.reward is not None
    np.testing.assert_array_equal(shard.obs["state"].reshape(E, T + 1, D), expected["obs"])
    action = shard.action.reshape(E, T + 1, A)
    np.testing.assert_array_equal(action[:, :T], expected["act"])
    assert np.isnan(action[:, T]).all()
    reward = shard.reward.reshape(E, T + 1)
    np.testing.assert_array_equal(reward[:, :T], expected["rew"])
    assert np.isnan(reward[:, T]).all()
    np.testing.assert_array_equal(shard.truncated.nonzero()[0], [5, 12, 19])
    np.testing.assert_allclose(shard.episodes.episode_return, expected["rew"].sum(1), rtol=1e-6)
    assert shard.episodes.source_id == ["source/0", "source/1", "source/2"]


def test_the_environment_gives_timestep_and_bounds(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    import_numpy(archive(tmp_path), path, env_id="dm_control/cheetah-run", action_repeat=2)
    meta = read_shard(path).meta
    assert (meta.env_id, meta.action_repeat) == ("dm_control/cheetah-run", 2)
    assert meta.control_timestep == 0.01
    assert meta.action_low.tolist() == [-1.0] * A
    assert meta.provenance["command"].startswith(
        "lawm data import --env dm_control/cheetah-run --action-repeat 2"
    )


def test_without_an_environment(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    import_numpy(archive(tmp_path), path, action_bounds=(-2.0, 3.0))
    meta = read_shard(path).meta
    assert (meta.env_id, meta.action_repeat, meta.control_timestep) == ("", 1, 0.0)
    assert meta.action_low.tolist() == [-2.0] * A
    assert meta.action_high.tolist() == [3.0] * A


def test_a_control_timestep_can_be_given(tmp_path: Path) -> None:
    path, told = tmp_path / "x.h5", {"control_timestep": 0.04, "action_repeat": 2}
    import_numpy(archive(tmp_path), path, **told)
    meta = read_shard(path).meta
    assert (meta.control_timestep, meta.step_seconds) == (0.04, 0.08)
    assert "--control-timestep 0.04" in meta.provenance["command"]


def test_a_control_timestep_that_is_known_is_not_replaced(tmp_path: Path) -> None:
    env = {"env_id": "dm_control/cheetah-run"}
    with pytest.raises(LawmError, match=r"0.04 s, but that of dm_control/cheetah-run is 0.01 s"):
        import_numpy(archive(tmp_path), tmp_path / "x.h5", control_timestep=0.04, **env)
    import_numpy(archive(tmp_path), tmp_path / "x.h5", control_timestep=0.01, **env)


@pytest.mark.parametrize("seconds", [-0.1, 1e-9, 1e9, float("nan")])
def test_a_control_timestep_is_seconds(seconds: float) -> None:
    with pytest.raises(LawmError, match=r"--control-timestep is .*; expected seconds from 1e-06"):
        ImportOptions(control_timestep=seconds)


def test_observations_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    report = import_numpy(archive(tmp_path, act=None, rew=None), path)
    assert report.counts is not None
    assert (report.counts.with_actions, report.counts.with_rewards) == (0, 0)
    shard = read_shard(path)
    assert shard.action is None
    assert shard.reward is None


def test_episodes_of_nan_are_imported_without(tmp_path: Path) -> None:
    act = arrays()["act"]
    act[1] = np.nan
    import_numpy(archive(tmp_path, act=act), tmp_path / "x.h5")
    episodes = read_shard(tmp_path / "x.h5").episodes
    assert episodes.has_action.tolist() == [True, False, True]
    assert episodes.has_reward.all()


def test_actions_that_never_change_are_noted_and_imported(tmp_path: Path) -> None:
    act = arrays()["act"]
    act[0], act[2] = 0.0, 0.5
    report = import_numpy(archive(tmp_path, act=act), tmp_path / "x.h5")
    (note,) = report.notes
    assert "the actions of 2 of 3 episodes with actions never change (source/0, source/2)" in note
    assert "zero in 1" in note and "NaN" in note
    assert note in report.rows().values()
    assert report.to_dict()["episodes_with_constant_actions"] == 2
    assert read_shard(tmp_path / "x.h5").episodes.has_action.all()


def test_actions_that_change_or_are_absent_are_not_noted(tmp_path: Path) -> None:
    act = arrays()["act"]
    act[1], act[2, 1:] = np.nan, act[2, :1]
    act[2, -1, -1] += 1e-3
    report = import_numpy(archive(tmp_path, act=act.clip(-1, 1)), tmp_path / "x.h5")
    assert report.notes == ()


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no obs": ({"obs": None}, {"format": "numpy"}, r"the arrays \['act', 'rew'\]; expected `obs`"),
    "undetected": ({"obs": None}, {}, r"(?s)of no format .* numpy: has no obs, but act, rew"),
    "flat obs": ({"obs": np.ones((E, T + 1))}, {}, r"`obs` of .* shape \(3, 7\); expected numb"),
    "text": ({"rew": np.full((E, T), "a")}, {}, "`rew` of .* has type <U1"),
    "objects": ({"rew": np.full((E, T), None)}, {}, "`rew` of .* holds pickled Python objects"),
    "too many actions": (
        {"act": np.zeros((E, T + 2, A))},
        {},
        r"`act` of .* has shape \(3, 8, 6\) beside `obs` .*; expected 3 episodes of 6 steps, one",
    ),
    "unknown convention": (
        {"act": np.zeros((E, T + 1, A))},
        {},
        r"neither its format nor its numbers say .* zero or NaN in 3 of 3 .*--action-convention",
    ),
    "whole numbers": (
        {"act": np.zeros((E, T, A), np.int64)},
        {},
        "actions of .* have type int64; expected floats, .* --action-free",
    ),
    "other episodes": ({"rew": np.zeros((E - 1, T))}, {}, r"`rew` of .* has shape \(2, 6\)"),
    "partly NaN": (
        {"act": np.where(np.arange(A) == 2, np.nan, np.zeros((E, T, A)))},
        {},
        r"Episode 0 \(source/0\) .* has actions that are NaN",
    ),
    "out of bounds": (
        {"act": np.full((E, T, A), 1.5)},
        {},
        r"actions of source/0 in .* reach from 1.5 to 1.5, beyond the bounds -1 to 1 \(assumed",
    ),
    "other environment": (
        {},
        {"env_id": "dm_control/walker-walk"},
        r"has the observations .*\(17,\).*, but dm_control/walker-walk has .*\(24,\)",
    ),
    "other actions": (
        {"act": np.zeros((E, T, 2))},
        {"env_id": "dm_control/cheetah-run"},
        "actions of .* have 2 dimensions, but those of dm_control/cheetah-run have 6",
    ),
    "unknown environment": ({}, {"env_id": "dm_control/cheetah"}, "dm_control/cheetah-run"),
    "repeat": ({}, {"action_repeat": 0}, "--action-repeat is 0; expected at least 1"),
    "bounds": ({}, {"action_bounds": (1.0, -1.0)}, "action bounds for .* each low below its high"),
    "format": ({}, {"format": "nmpy"}, r"--format is 'nmpy'; .* Did you mean 'numpy'\?"),
    "filter": ({}, {"filter": "train"}, "--filter is not for the format numpy"),
    "keys": ({}, {"keys": ("pos",)}, "--keys asks for pos, which .*; its observation keys are obs"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_a_sentence_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    changes, options, message = FAULTS[case]
    with pytest.raises(LawmError, match=message):
        import_numpy(archive(tmp_path, **changes), tmp_path / "x.h5", **options)
    assert not (tmp_path / "x.h5").exists()


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match=r"There is no file or folder .*gone\.npz"):
        import_numpy(tmp_path / "gone.npz", tmp_path / "x.h5")


def test_a_truncated_archive(tmp_path: Path) -> None:
    source = archive(tmp_path)
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(LawmError, match=r"is not a numpy archive .* or it is truncated"):
        import_numpy(source, tmp_path / "x.h5", format="numpy")


def test_an_existing_shard_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_text("precious")
    with pytest.raises(LawmError, match="exists already"):
        import_numpy(archive(tmp_path), path)
    assert path.read_text() == "precious"
    import_numpy(archive(tmp_path), path, overwrite=True)
    assert read_shard(path).episodes.num_episodes == E
