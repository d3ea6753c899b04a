from __future__ import annotations

import numpy as np
import pytest

from lawm.envs import make_env
from lawm.envs.physics_from_observations import DOMAINS, physics_from_observations
from lawm.errors import LawmError

TASKS = {
    "acrobot": "swingup",
    "ball_in_cup": "catch",
    "cartpole": "swingup",
    "cheetah": "run",
    "hopper": "hop",
    "pendulum": "swingup",
    "point_mass": "easy",
    "walker": "walk",
}
TRAVELS = ("cheetah", "hopper", "walker")  # along a track whose place is not observed
STEPS = 150


def test_each_domain_is_tested():
    assert tuple(TASKS) == DOMAINS


@pytest.mark.parametrize("domain", TASKS)
def test_states_give_the_observations_back_and_are_the_true_ones(domain):
    env_id = f"dm_control/{domain}-{TASKS[domain]}"
    env, rng = make_env(env_id, 2, 3), np.random.default_rng(0)
    obs, states = [env.reset()["state"]], [env.physics_state()]
    for _ in range(STEPS):
        obs.append(env.step(rng.uniform(env.action_low, env.action_high))[0]["state"])
        states.append(env.physics_state())
    seen, true = np.stack(obs), np.stack(states)

    found = physics_from_observations(env_id, seen, 2 * env.control_timestep)
    assert found.shape == true.shape
    back = np.stack([env.set_physics_state(state)["state"] for state in found])
    follows = env.follows_from_state()
    np.testing.assert_allclose(back[:, follows], seen[:, follows], atol=1e-6)

    x = {"walker": 1}.get(domain, 0)
    if domain in TRAVELS:
        np.testing.assert_allclose(found[:, x] + true[0, x], true[:, x], atol=0.1)  # metres
        found[:, x] = true[:, x]
    turns = (found - true) / (2.0 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)


def test_a_domain_whose_observations_tell_too_little_is_refused():
    with pytest.raises(
        LawmError, match=r"reacher-easy do not determine.*walker do.*--store-physics"
    ):
        physics_from_observations("dm_control/reacher-easy", np.zeros((3, 6), np.float32), 0.02)


def test_observations_of_another_width_are_refused():
    with pytest.raises(LawmError, match=r"cartpole-two_poles have shape \(3, 8\); expected 5"):
        physics_from_observations("dm_control/cartpole-two_poles", np.zeros((3, 8), np.float32), 1)
