import subprocess
import sys

import numpy as np
import pytest
from dm_control import suite

from lawm.envs import make_env
from lawm.envs.dm_control import env_ids
from lawm.errors import LawmError


def play(env, num_steps, seed=None):
    """Observations (num_steps + 1, D) and rewards of pseudo-random actions."""
    rng = np.random.default_rng(0)
    observations, rewards = [env.reset(seed)["state"]], []
    for _ in range(num_steps):
        obs, reward, _, _ = env.step(rng.uniform(env.action_low, env.action_high))
        observations.append(obs["state"])
        rewards.append(reward)
    return np.stack(observations), np.array(rewards)


def test_same_seed_same_episode_and_another_seed_another():
    first, second = (play(make_env("dm_control/cartpole-swingup", 2, 3), 20) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    other = play(make_env("dm_control/cartpole-swingup", 2, 4), 20)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("name", ["cheetah-run", "ball_in_cup-catch", "finger-spin"])
def test_reset_with_a_seed_equals_a_new_environment(name):
    used = make_env(f"dm_control/{name}", 2, 0)
    play(used, 15)
    reseeded, new = play(used, 30, seed=7), play(make_env(f"dm_control/{name}", 2, 7), 30)
    np.testing.assert_array_equal(reseeded[0], new[0])
    np.testing.assert_array_equal(reseeded[1], new[1])


def test_reset_without_a_seed_starts_elsewhere():
    env = make_env("dm_control/cartpole-swingup", 1, 0)
    assert not np.array_equal(env.reset()["state"], env.reset()["state"])


def test_state_is_the_suites_observation_in_its_order():
    env = make_env("dm_control/walker-walk", 1, 5)
    reference = suite.load("walker", "walk", task_kwargs={"random": 5})
    parts = reference.reset().observation
    assert list(parts) == ["orientations", "height", "velocity"]
    expected = np.concatenate([np.ravel(part) for part in parts.values()]).astype(np.float32)
    state = env.reset()["state"]
    assert state.dtype == np.float32
    assert state.shape == (24,)
    np.testing.assert_array_equal(state, expected)


def test_reward_is_the_sum_over_the_repeat():
    single, repeated = (make_env("dm_control/cartpole-balance", n, 1) for n in (1, 4))
    single.reset()
    repeated.reset()
    action = np.array([0.3])
    steps = [single.step(action) for _ in range(4)]
    obs, reward, _, _ = repeated.step(action)
    assert reward == pytest.approx(sum(step[1] for step in steps))
    assert reward > 3.0  # the pole still stands: close to one a control step
    np.testing.assert_array_equal(obs["state"], steps[-1][0]["state"])


def test_time_limit_truncates_and_rewards_lie_within_the_repeat():
    env = make_env("dm_control/pendulum-swingup", 3, 0)
    env.reset()
    rewards, ends = [], []
    for _ in range(334):  # 1000 control steps: the last action is held for one of them only
        _, reward, terminated, truncated = env.step(np.ones(1))
        rewards.append(reward)
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 333 + [(False, True)]
    assert all(0.0 <= reward <= 3.0 for reward in rewards)
    with pytest.raises(AssertionError, match="reset"):
        env.step(np.ones(1))


def test_discount_of_zero_terminates(monkeypatch):
    env = make_env("dm_control/pendulum-swingup", 2, 0)
    env.reset()
    monkeypatch.setattr(env._env.task, "get_termination", lambda physics: 0.0)
    assert env.step(np.zeros(1))[2:] == (True, False)


def test_bounds_timestep_and_physics_state():
    env = make_env("dm_control/quadruped-walk", 2, 0)
    assert env.action_low.tolist() == [-1.0, -1.0, -0.8] * 4
    assert env.action_high.tolist() == [1.0, 1.1, 0.8] * 4
    assert env.control_timestep == pytest.approx(0.02)
    env.reset()
    state = env.physics_state()
    assert state.dtype == np.float64
    env.step(env.action_high)
    assert not np.array_equal(state, env.physics_state())


def test_actions_beyond_the_bounds_are_clipped():
    wild, bounded = (make_env("dm_control/cartpole-swingup", 1, 0) for _ in range(2))
    wild.reset()
    bounded.reset()
    assert wild.step(np.array([9.0]))[1] == bounded.step(np.array([1.0]))[1]
    np.testing.assert_array_equal(wild.physics_state(), bounded.physics_state())


def test_action_that_is_not_finite_is_refused():
    env = make_env("dm_control/cartpole-swingup", 1, 0)
    env.reset()
    with pytest.raises(LawmError, match=r"cartpole-swingup is not finite: \[nan\]"):
        env.step(np.array([np.nan]))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("dm_control/cheetah_run", "dm_control/cheetah-run"),
        ("dm_control/ball-in-cup-catch", "dm_control/ball_in_cup-catch"),
        ("dm_control/walker-wlak", "dm_control/walker-walk"),
    ],
)
def test_unknown_task_names_the_nearest(wrong, meant):
    with pytest.raises(LawmError, match=rf"{wrong}.* does not exist\. Nearest: .*{meant}"):
        make_env(wrong, 2, 0)


def test_task_without_action_bounds_is_refused():
    with pytest.raises(LawmError, match="lqr-lqr_2_1' has actions without bounds"):
        make_env("dm_control/lqr-lqr_2_1", 2, 0)


def test_seed_out_of_range_is_refused():
    with pytest.raises(LawmError, match="seed is -1, expected 0 to 4294967295"):
        make_env("dm_control/cheetah-run", 2, -1)


def test_physics_state_gives_its_observation_back():
    env, other = make_env("dm_control/hopper-hop", 2, 0), make_env("dm_control/hopper-hop", 2, 1)
    other.reset()
    play(env, 10)
    seen = env.step(env.action_high)[0]["state"]
    found = other.set_physics_state(env.physics_state())["state"]
    follows = other.follows_from_state()
    assert follows.tolist() == [True] * 13 + [False] * 2  # two touch sensors
    np.testing.assert_array_equal(found[follows], seen[follows])


def test_names_with_underscores_are_known():
    assert {"dm_control/ball_in_cup-catch", "dm_control/point_mass-easy"} <= set(env_ids())


def test_importing_the_package_imports_no_simulator_and_making_one_needs_no_opengl():
    program = (
        "import os, sys; os.environ.pop('MUJOCO_GL', None);"
        "import lawm.envs as envs; assert not {'dm_control', 'torch'} & set(sys.modules);"
        "envs.make_env('dm_control/cartpole-swingup').reset();"
        "assert 'MUJOCO_GL' not in os.environ; assert 'OpenGL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
