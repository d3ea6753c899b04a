from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lawm.data_modules import collect as collect_module
from lawm.data_modules.behaviour import EpisodeRecorder
from lawm.data_modules.collect import CollectConfig, CollectReport, collect
from lawm.data_modules.episode import Episode
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.envs import make_env
from lawm.errors import LawmError

ENV = "dm_control/cheetah-run"
REPEAT = 20  # 1000 control steps make episodes of 50 agent steps
EPISODE = 50


def run(path: Path, **options: Any) -> CollectReport:
    config = CollectConfig(path, ENV, action_repeat=REPEAT, **options)
    return collect(config, Console(file=io.StringIO()))


def replay(shard: Shard, episode: int) -> slice:
    """The rows of an episode."""
    return slice(*shard.episodes.offset[episode : episode + 2])


def test_random_trajectories_are_what_the_simulator_does(tmp_path: Path) -> None:
    path = tmp_path / "random.h5"
    report = run(path, steps=2 * EPISODE + 20, seed=3, store_physics=True)
    shard = read_shard(path, verify=True)
    assert shard.episodes.lengths.tolist() == [EPISODE, EPISODE]
    assert shard.episodes.source_id == ["random/0", "random/1"]
    np.testing.assert_array_equal(shard.truncated.nonzero()[0], [49, 100])
    assert report.returns == pytest.approx(shard.episodes.episode_return)
    assert shard.action is not None and shard.reward is not None and shard.physics is not None

    env = make_env(ENV, REPEAT, seed=3)
    for episode in range(2):
        rows = replay(shard, episode)
        obs, action, reward = shard.obs["state"][rows], shard.action[rows], shard.reward[rows]
        np.testing.assert_array_equal(obs[0], env.reset()["state"])
        for t in range(EPISODE):
            now, gained, _, _ = env.step(action[t])
            np.testing.assert_array_equal(obs[t + 1], now["state"])
            assert reward[t] == np.float32(gained)
            np.testing.assert_array_equal(shard.physics[rows][t + 1], env.physics_state())


def test_the_shard_knows_its_task_and_origin(tmp_path: Path) -> None:
    path = tmp_path / "random.h5"
    run(path, steps=EPISODE, seed=1)
    meta = read_shard(path).meta
    assert (meta.env_id, meta.action_repeat, meta.control_timestep) == (ENV, REPEAT, 0.01)
    assert meta.action_low.tolist() == [-1.0] * 6
    assert meta.provenance["command"] == (
        f"lawm data collect --env {ENV} --policy random --steps 50 --action-repeat 20 --seed 1 "
        f"{path}"
    )
    assert meta.provenance["policy"]["name"] == "random"
    assert meta.provenance["versions"].keys() >= {"lawm", "python", "dm_control", "mujoco"}
    assert meta.provenance["interrupted"] is False


def test_the_seed_decides(tmp_path: Path) -> None:
    checksums = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / f"{name}.h5", steps=EPISODE, seed=seed)
        checksums.append(read_shard(tmp_path / f"{name}.h5").meta.checksum)
    assert checksums[0] == checksums[1] != checksums[2]


@pytest.mark.slow
def test_sac_keeps_its_replay_and_rollouts_do_not_disturb_it(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    run(tmp_path / "replay.h5", policy="sac", steps=4 * EPISODE)
    report = run(
        tmp_path / "both.h5",
        policy="sac",
        steps=4 * EPISODE,
        keep="both",
        checkpoint_every=130,
        rollout_episodes=1,
    )
    alone, both = read_shard(tmp_path / "replay.h5"), read_shard(tmp_path / "both.h5")
    assert alone.episodes.source_id == [f"sac/replay/{i}" for i in range(4)]
    assert both.episodes.source_id == [
        *(f"sac/replay/{i}" for i in range(2)),
        "sac/rollout/0",
        *(f"sac/replay/{i}" for i in range(2, 4)),
    ]
    assert report.num_steps == 4 * EPISODE
    assert alone.action is not None and both.action is not None
    for i, j in enumerate([0, 1, 3, 4]):
        np.testing.assert_array_equal(alone.action[replay(alone, i)], both.action[replay(both, j)])
    assert alone.meta.provenance["policy"]["learning_rate"] == 3e-4
    assert alone.meta.provenance["versions"].keys() >= {"stable_baselines3", "torch"}


def test_sac_rollouts_alone(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    path = tmp_path / "rollouts.h5"
    run(path, policy="sac", steps=60, keep="rollouts", checkpoint_every=30, rollout_episodes=2)
    shard = read_shard(path)
    assert shard.episodes.source_id == [f"sac/rollout/{i}" for i in range(4)]
    assert shard.action is not None
    assert np.nanmax(np.abs(shard.action)) <= 1.0


class InterruptedBehaviour:
    """Ends by Ctrl-C after some episodes of two steps."""

    num_steps = 7

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes

    def episodes(self) -> Iterator[Episode]:
        for _ in range(self._episodes):
            obs, action = np.zeros((3, 17), np.float32), np.zeros((2, 6), np.float32)
            yield Episode({"state": obs}, action, np.ones(2, np.float32), False, True, "fake")
        raise KeyboardInterrupt

    def settings(self) -> dict[str, Any]:
        return {"name": "fake"}


def test_ctrl_c_writes_the_whole_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "_make_behaviour", lambda *_: InterruptedBehaviour(2))
    report = run(tmp_path / "part.h5")
    assert report.interrupted
    assert report.returns == (2.0, 2.0)
    shard = read_shard(tmp_path / "part.h5", verify=True)
    assert shard.episodes.num_episodes == 2
    assert shard.meta.provenance["interrupted"] is True


def test_ctrl_c_before_the_first_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module, "_make_behaviour", lambda *_: InterruptedBehaviour(0))
    with pytest.raises(LawmError, match=r"part\.h5 was not written: no episode had ended yet"):
        run(tmp_path / "part.h5")
    assert not list(tmp_path.iterdir())


def test_a_log_file_gets_a_line_now_and_then(tmp_path: Path) -> None:
    log = io.StringIO()
    config = CollectConfig(tmp_path / "x.h5", ENV, action_repeat=100, steps=100)
    collect(config, Console(file=log, width=120))
    assert "100 of 100 steps · 10 episodes · return" in log.getvalue()


def test_an_existing_shard_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.h5"
    path.write_text("precious")
    monkeypatch.setattr(EpisodeRecorder, "step", lambda *_: pytest.fail("it acted"))
    with pytest.raises(LawmError, match=r"kept\.h5 exists already"):
        run(path, steps=EPISODE)
    assert path.read_text() == "precious"


def test_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    path.write_text("old")
    run(path, steps=EPISODE, overwrite=True)
    assert read_shard(path).episodes.num_episodes == 1


def test_too_few_steps_for_an_episode(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match=r"49 steps of .* hold no whole episode.*Raise --steps"):
        run(tmp_path / "x.h5", steps=EPISODE - 1)
    assert not list(tmp_path.iterdir())


def test_sac_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LawmError, match=r"needs stable-baselines3.*pip install -e '.\[collect\]'"):
        run(tmp_path / "x.h5", policy="sac", steps=EPISODE)


def test_an_unknown_environment(tmp_path: Path) -> None:
    config = CollectConfig(tmp_path / "x.h5", "dm_control/cheetah-ran")
    with pytest.raises(LawmError, match="dm_control/cheetah-run"):
        collect(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "--steps is 0; expected at least 1"),
        ({"rollout_episodes": -1}, "--rollout-episodes is -1; expected at least 1"),
        ({"checkpoint_every": 0}, "--checkpoint-every is 0; expected at least 1"),
        ({"keep": "both"}, "--keep both needs --policy sac; random learns nothing"),
        (
            {"policy": "sac", "keep": "rollouts", "steps": 100},
            "--checkpoint-every is 10000, beyond --steps 100",
        ),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LawmError, match=message):
        run(tmp_path / "x.h5", **options)
    assert not list(tmp_path.iterdir())
