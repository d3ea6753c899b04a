from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_factory import VARIANTS, make_model, make_spec

from lawm.action_predictor import ActionPredictor, ActionPredictorConfig, ClonedAgent
from lawm.agent import batched_observations
from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule
from lawm.spec import ObservationSpec


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


def test_numbers_that_are_not_finite_are_named():
    obs = np.zeros((3, 5))
    obs[2, 1] = np.nan
    with pytest.raises(LawmError, match=r"'state' of environment 2 \(of 3\) is nan at index \[1\]"):
        make_agent().act({"state": obs})
    with pytest.raises(LawmError, match=r"is 1e\+300 .* expected finite numbers in float32"):
        make_agent().act({"state": np.full(5, 1e300)})


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.zeros(5), r"of type ndarray; expected a mapping from each of the keys \['state'\]"),
        (({"state": np.zeros(5)}, {}), r"of type tuple; .*as gymnasium's reset gives, give the f"),
        ({"state": np.full(5, "x")}, r"'state' is of type <U1; expected real numbers"),
    ],
)
def test_what_is_no_observation_is_named(obs, message):
    with pytest.raises(LawmError, match=message):
        make_agent().act(obs)


def test_keys_of_different_numbers_of_environments_are_named():
    state = make_spec().observations["state"]
    spec = replace(
        make_spec(), observations={"pixels": ObservationSpec((4, 4, 3), "image"), "state": state}
    )
    obs = {"pixels": np.zeros((2, 4, 4, 3), np.uint8), "state": np.zeros(5)}
    with pytest.raises(LawmError, match=r"'pixels' of 2, 'state' of 1\. Give each key a row"):
        batched_observations(spec, obs, torch.zeros(()))


def make_cloned_agent():
    config = ActionPredictorConfig(before=1, hidden=16, embed=8, num_layers=1)
    return ClonedAgent(ActionPredictor(make_spec(), config).eval())


@pytest.mark.parametrize("make", [make_agent, make_cloned_agent])
def test_a_state_of_another_number_of_environments_is_named(make):
    agent = make()
    _, state = agent.act({"state": np.zeros((2, 5))})
    with pytest.raises(LawmError, match=r"of 3 environments and the state of 2; expected as many"):
        agent.act({"state": np.zeros((3, 5))}, state)
