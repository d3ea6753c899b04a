from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env

from lawm.data_modules.behaviour import EpisodeRecorder
from lawm.data_modules.gymnasium_adapter import GymnasiumAdapter
from lawm.envs import make_env
from lawm.errors import LawmError

EPISODE = 10  # agent steps at action repeat 100


def adapter() -> GymnasiumAdapter:
    env = make_env("dm_control/cheetah-run", 100, seed=0)
    return GymnasiumAdapter(EpisodeRecorder(env, "test"))


def test_it_is_what_the_learner_expects() -> None:
    check_env(adapter(), warn=False)


def test_time_limits_are_bootstrapped_through() -> None:
    learner = SAC("MlpPolicy", adapter(), buffer_size=40, learning_starts=40, device="cpu")
    learner.learn(3 * EPISODE)
    buffer = cast("Any", learner.replay_buffer)
    np.testing.assert_array_equal(buffer.timeouts[:, 0].nonzero()[0], [9, 19, 29])
    bootstrapped = [float(buffer._get_samples(np.array([t])).dones) for t in (9, 19, 29)]
    assert bootstrapped == [0.0, 0.0, 0.0]


def test_the_successor_of_the_last_step_is_the_last_observation() -> None:
    env = adapter()
    learner = SAC("MlpPolicy", env, buffer_size=40, learning_starts=40, device="cpu")
    learner.learn(EPISODE)
    (episode,) = env._recorder.pop_finished()
    buffer = cast("Any", learner.replay_buffer)
    np.testing.assert_array_equal(buffer.observations[:EPISODE, 0], episode.obs["state"][:-1])
    np.testing.assert_array_equal(buffer.next_observations[:EPISODE, 0], episode.obs["state"][1:])


def test_other_observations_are_refused() -> None:
    obs = {"state": np.zeros(3, np.float32), "goal": np.zeros(2, np.float32)}
    env = SimpleNamespace(reset=lambda: obs, env_id="suite/task")
    recorder = EpisodeRecorder(cast("Any", env), "test")
    with pytest.raises(LawmError, match=r"suite/task has the observations .*'goal', 'state'"):
        GymnasiumAdapter(recorder)
