from __future__ import annotations

import numpy as np
import pytest
from model_factory import VARIANTS, make_model, make_spec

from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule


def make_agent(**config):
    return LatentPolicyModule(make_model(**config), make_spec(), hidden=16).eval().agent()


@pytest.mark.parametrize("variant", VARIANTS)
def test_episodes_side_by_side_equal_episodes_one_by_one(variant):
    agent = make_agent(**VARIANTS[variant])
    obs = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    state = agent.initial_state(3)
    together = []
    for o in obs:
        action, state = agent.act({"state": o}, state)
        together.append(action)
    for row in range(3):
        state = None
        for t, o in enumerate(obs):
            action, state = agent.act({"state": o[row]}, state)
            np.testing.assert_allclose(action, together[t][row], atol=1e-5)


def test_the_agent_remembers():
    agent = make_agent()
    obs = {"state": np.ones((1, 5), dtype=np.float32)}
    first, state = agent.act(obs)
    second, _ = agent.act(obs, state)
    assert not np.allclose(first, second)


def test_actions_are_in_the_environments_units():
    spec = make_spec()
    object.__setattr__(spec, "action_low", (0.0, 10.0))
    object.__setattr__(spec, "action_high", (4.0, 30.0))
    model = make_model()
    model.spec = spec
    agent = LatentPolicyModule(model, spec, hidden=16).eval().agent()
    action, _ = agent.act({"state": np.random.default_rng(0).normal(size=(500, 5))})
    assert action.dtype == np.float32
    assert (action[:, 0] >= 0).all()
    assert (action[:, 0] <= 4).all()
    assert (action[:, 1] >= 10).all()
    assert (action[:, 1] <= 30).all()


def test_a_missing_key_is_named():
    with pytest.raises(LawmError, match="no key 'state'; it has \\['pixels'\\]"):
        make_agent().act({"pixels": np.zeros(5)})


def test_a_wrong_shape_is_named():
    with pytest.raises(LawmError, match=r"'state' has shape \(2, 7\)"):
        make_agent().act({"state": np.zeros((2, 7))})
