"""Inverse dynamics, the labels made from them, and behaviour cloning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_system import simulate, spec_of, windows
from model_factory import ACTION_DIM, OBS_DIM, make_batch, make_spec
from small_training import EPISODES, STEPS, train
from torchmetrics.functional import r2_score

from lawm import policy_evaluation
from lawm.action_prediction_module import ActionPredictionModule
from lawm.action_predictor import (
    ActionPredictor,
    ActionPredictorConfig,
    ClonedAgent,
    PseudoLabeller,
)
from lawm.batch import EpisodeBatch
from lawm.envs.simulator_fault import SimulatorFault
from lawm.errors import LawmError
from lawm.fit_config import EvaluationConfig
from lawm.policy_evaluation import PolicyEvaluation
from lawm.run_folder import RunFolder

SMALL = {"hidden": 16, "embed": 16}


def make_predictor(before=0, after=0, seed=0):
    torch.manual_seed(seed)
    config = ActionPredictorConfig(before, after, **SMALL)
    return ActionPredictor(make_spec(), config).eval()


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 2), (2, 0), (0, 1)])
def test_an_action_is_predicted_from_the_observations_around_it(before, after):
    predictor, window, t = make_predictor(before, after), 8, 4
    obs = torch.randn(1, window + 1, OBS_DIM)
    with torch.no_grad():
        original = predictor({"state": obs})
        assert original.shape == (1, window, ACTION_DIM)
        read = []
        for step in range(window + 1):
            other = obs.clone()
            other[:, step] += 1.0
            if not torch.equal(predictor({"state": other})[:, t], original[:, t]):
                read.append(step)
    assert read == list(range(t - before, t + after + 1))


def test_a_negative_number_of_observations_is_refused():
    with pytest.raises(LawmError, match=r"model.before of the action predictor is -1"):
        make_predictor(before=-1)


def test_inverse_dynamics_of_a_linear_system_are_learned_from_four_episodes():
    torch.manual_seed(0)
    data, held_out = simulate(EPISODES, STEPS, seed=1), simulate(8, STEPS, seed=2)
    config = ActionPredictorConfig(0, 1, hidden=32, embed=32, dropout=0.0)
    module = ActionPredictionModule(spec_of(data), config, learning_rate=2e-3, warmup_steps=20)
    train(module, data)
    batch = windows(held_out, np.arange(8), np.zeros(8, dtype=int), STEPS, 8)
    with torch.no_grad():
        predicted = module.eval().model(batch.obs)
    assert r2_score(predicted.flatten(0, 1), batch.action.flatten(0, 1)).item() > 0.8


@pytest.mark.parametrize("in_units_of", ["usual change", "deviation"])
def test_actions_that_move_the_state_by_little_are_seen_in_units_of_the_usual_change(in_units_of):
    """A fiftieth of the way a step: a difference that is lost in the spread of the data set."""
    torch.manual_seed(0)
    data, held_out = (simulate(n, STEPS, seed=i, pace=0.02) for i, n in ((1, EPISODES), (2, 8)))
    spec = spec_of(data)
    state = spec.observations["state"]
    change = state.change if in_units_of == "usual change" else state.std
    spec = replace(spec, observations={"state": replace(state, change=change)})
    config = ActionPredictorConfig(0, 1, hidden=32, embed=32, dropout=0.0)
    module = ActionPredictionModule(spec, config, learning_rate=2e-3, warmup_steps=20)
    train(module, data)
    batch = windows(held_out, np.arange(8), np.zeros(8, dtype=int), STEPS, 8)
    with torch.no_grad():
        predicted = module.eval().model(batch.obs)
    r2 = r2_score(predicted.flatten(0, 1), batch.action.flatten(0, 1)).item()
    assert r2 > 0.4 if in_units_of == "usual change" else r2 < 0.0


def test_the_loss_reads_the_labelled_rows_alone():
    module = ActionPredictionModule(make_spec(), ActionPredictorConfig(**SMALL)).eval()
    batch = make_batch(rows=6, labelled=2)
    loss, _ = module.compute_loss(batch)
    batch.obs["state"][2:] = 1e6
    assert torch.equal(module.compute_loss(batch)[0], loss)


def test_without_labelled_rows_the_loss_is_zero_and_finite():
    module = ActionPredictionModule(make_spec(), ActionPredictorConfig(**SMALL))
    loss, _ = module.compute_loss(make_batch(rows=3, labelled=0))
    loss.backward()
    assert loss.item() == 0.0


def test_a_cloned_policy_that_is_measured_late_acts_without_dropout(tmp_path, monkeypatch):
    acted = []

    def twice(agent, *args, **kwargs):
        obs = {"state": np.ones((3, OBS_DIM), np.float32)}
        acted.extend(agent.act(obs)[0] for _ in range(2))
        raise SimulatorFault("enough")

    monkeypatch.setattr(policy_evaluation, "evaluate", twice)
    module = ActionPredictionModule(make_spec(), ActionPredictorConfig(**SMALL, dropout=0.5))
    torch.nn.init.normal_(module.model.head.output.weight)
    measured = PolicyEvaluation(
        "dm_control/x", EvaluationConfig(), make_spec(), RunFolder(tmp_path)
    )
    measured.numbers(module.train())
    np.testing.assert_array_equal(acted[0], acted[1])


def test_windows_keep_their_labels_and_get_the_missing_ones():
    predictor, batch = make_predictor(1, 2), make_batch(rows=6, labelled=2)
    labelled = PseudoLabeller(predictor).label_windows(batch)
    assert labelled.num_labelled == labelled.num_rows == 6
    assert torch.equal(labelled.action[:2], batch.action)
    with torch.no_grad():
        expected = predictor({"state": batch.obs["state"][2:]})
    assert torch.equal(labelled.action[2:], expected)
    assert torch.equal(labelled.has_reward, batch.has_reward)
    assert PseudoLabeller(predictor).label_windows(labelled) is labelled


def test_the_padding_of_episodes_stays_zero():
    batch = make_batch(rows=3, labelled=1, window=6, all_rewards=True)
    length = torch.tensor([6, 4, 2])
    episodes = EpisodeBatch(
        batch.obs,
        batch.action,
        batch.reward,
        batch.has_reward,
        length,
        torch.zeros_like(length) > 0,
    )
    action = PseudoLabeller(make_predictor(0, 1)).label_episodes(episodes).action
    assert torch.equal(action[:1], batch.action)
    for row, steps in enumerate(length.tolist()):
        assert (action[row, :steps] != 0).all()
        assert (action[row, steps:] == 0).all()


def test_a_labeller_does_not_learn():
    predictor = make_predictor().train()
    PseudoLabeller(predictor)
    assert not predictor.training
    assert not any(p.requires_grad for p in predictor.parameters())


@pytest.mark.parametrize("before", [0, 2])
def test_acting_step_by_step_equals_the_window(before):
    predictor = make_predictor(before)
    agent = ClonedAgent(predictor)
    obs = torch.randn(3, 6, OBS_DIM)
    with torch.no_grad():
        expected = predictor({"state": obs})
    state = agent.initial_state(3)
    for t in range(5):
        action, state = agent.act({"state": obs[:, t].numpy()}, state)
        torch.testing.assert_close(torch.from_numpy(action), expected[:, t])
    single, _ = agent.act({"state": obs[1, 0].numpy()})
    torch.testing.assert_close(torch.from_numpy(single), expected[1, 0])


def test_a_policy_cannot_read_ahead():
    with pytest.raises(LawmError, match=r"cloning.model.after is 1; expected 0"):
        ClonedAgent(make_predictor(after=1))
