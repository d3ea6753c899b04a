"""Draws of actions that observations do not determine, and who is told them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import ACTION_DIM, OBS_DIM, make_batch, make_model

from lawm.categorical_inverse_dynamics import BINS, CategoricalInverseDynamics
from lawm.fused.kernels import enable_kernels
from lawm.world_model_loss import LossOptions, world_model_terms

ROWS, LABELLED, WINDOW, SIZE = 7, 4, 6, 3


@pytest.fixture(params=[False, True], ids=["steps", "kernels"])
def kernels(request):
    enable_kernels(request.param)
    yield
    enable_kernels(False)


def seen_and_done(steps=40, rows=50, *, next_step=False):
    """Transitions that show the first action and of the second its size, but not its sign."""
    action = torch.rand(steps, rows, 2) * 2 - 1
    action[..., 1] = torch.where(action[..., 1] > 0, 0.8, -0.8)
    shown = torch.stack([action[..., 0], action[..., 1].abs(), torch.randn(steps, rows)], dim=-1)
    return torch.cat([torch.zeros(1, rows, SIZE), shown[:-1]]) if next_step else shown, action


def trained(make_data, updates=400):
    torch.manual_seed(0)
    model = CategoricalInverseDynamics(SIZE, 64, ACTION_DIM)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(updates):
        loss = model.loss(*make_data())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("next_step", [False, True], ids=["at_once", "one_step_later"])
def test_what_is_seen_is_drawn_and_what_is_not_seen_is_as_bold_as_the_data(next_step):
    model = trained(lambda: seen_and_done(next_step=next_step))
    transitions, action = seen_and_done(steps=60, rows=200, next_step=next_step)
    drawn = model.draw(transitions)[1:-1]  # at the ends of a window a neighbour is missing
    true = action[1:-1]
    first = torch.stack([drawn[..., 0].flatten(), true[..., 0].flatten()])
    assert torch.corrcoef(first)[0, 1] > 0.75, "dropout of three numbers blurs it"
    assert drawn[..., 0].std() == pytest.approx(float(true[..., 0].std()), rel=0.2)
    second = drawn[..., 1]
    assert abs(float(second.mean())) < 0.1, "either sign is as likely"
    assert second.std() == pytest.approx(0.8, rel=0.1), "the mean of both would be 0"
    assert ((second.abs() - 0.8).abs() < 0.2).float().mean() > 0.9, "what lies between was not done"


def test_a_draw_follows_the_probabilities_and_keeps_to_the_bounds(monkeypatch):
    model = CategoricalInverseDynamics(SIZE, 8, 1)
    chances = torch.zeros(BINS)
    chances[0], chances[3], chances[-1] = 0.5, 0.2, 0.3
    monkeypatch.setattr(model, "probabilities", lambda x: chances.expand(*x.shape[:2], 1, BINS))
    torch.manual_seed(0)
    drawn = model.draw(torch.zeros(100, 200, SIZE))
    assert drawn.shape == (100, 200, 1)
    assert drawn.min() == -1.0 and drawn.max() == 1.0
    for of, low, high in ((0.5, -1.0, -0.9), (0.2, -0.5, -0.3), (0.3, 0.9, 1.0)):
        share = ((drawn >= low - 1e-6) & (drawn <= high + 1e-6)).float().mean()
        assert share == pytest.approx(of, abs=0.02)


def test_the_loss_trains_the_head_alone_and_takes_bounds_and_no_row():
    model = CategoricalInverseDynamics(SIZE, 8, ACTION_DIM)
    transitions = torch.randn(WINDOW, LABELLED, SIZE, requires_grad=True)
    ends = torch.ones(WINDOW, LABELLED, ACTION_DIM)
    ends[::2] = -1.0
    model.loss(transitions, ends).backward()
    assert transitions.grad is None
    assert all(p.grad is not None for p in model.parameters())
    assert model.loss(transitions[:, :0], ends[:, :0]) == 0.0
    assert model.draw(transitions[:, :0]).shape == (WINDOW, 0, ACTION_DIM)


def observe(model, batch, seed=1):
    torch.manual_seed(seed)
    return model.observe(batch)


def drawing_model(**config):
    quiet = {"feature_dropout": 0.0, "action_dropout": 0.0}
    return make_model(inferred_actions="draw", **quiet, **config).train()


def test_action_free_rows_are_told_draws_and_taught_them(kernels):
    model, batch = drawing_model(), make_batch(ROWS, LABELLED, WINDOW)
    some, again = observe(model, batch), observe(model, batch)
    assert torch.equal(some.inferred_action, again.inferred_action)
    other = observe(model, batch, seed=2).inferred_action
    assert (some.inferred_action != other).float().mean() > 0.9, "drawn afresh"
    assert some.inferred_action.shape == (WINDOW, ROWS - LABELLED, ACTION_DIM)

    # as if the draws were known: the same states, and the same terms of self-labels
    told = dataclasses.replace(
        batch, action=torch.cat([batch.action, some.inferred_action.transpose(0, 1)])
    )
    plain = make_model(feature_dropout=0.0, action_dropout=0.0).train()
    plain.load_state_dict(model.state_dict(), strict=False)
    sampled = [
        m.observe(b, sample=False) for m, b in ((plain, told), (drawn_as(model, some), batch))
    ]
    torch.testing.assert_close(sampled[0].features, sampled[1].features)
    torch.testing.assert_close(sampled[0].action_posterior, sampled[1].action_posterior)


def drawn_as(model, observed):
    """The model with the draws that it made before, of all rows that were not told."""
    model.inverse_dynamics.draw = lambda transitions: observed.inferred_action
    return model


def test_rows_that_run_free_are_told_draws_and_learn_from_their_actions(kernels):
    model, batch = drawing_model(free_running_share=0.5), make_batch(ROWS, LABELLED, WINDOW)
    other = dataclasses.replace(batch, action=torch.cat([batch.action[:2], -batch.action[2:]]))
    before, after = observe(model, batch), observe(model, other)
    assert torch.equal(before.features, after.features)
    terms = [
        world_model_terms(model, b, seen, LossOptions())[0].action
        for b, seen in ((batch, before), (other, after))
    ]
    assert terms[0] != terms[1]
    assert before.inverse_dynamics_loss != after.inverse_dynamics_loss


def test_outside_of_training_actions_are_inferred_as_ever(kernels):
    model, batch = drawing_model().eval(), make_batch(ROWS, LABELLED, WINDOW)
    plain = make_model(feature_dropout=0.0, action_dropout=0.0).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    some, other = observe(model, batch), observe(plain, batch)
    assert torch.equal(some.features, other.features)
    assert torch.equal(some.inferred_action, other.inferred_action)
    assert some.inverse_dynamics_loss > 0.0
    assert other.inverse_dynamics_loss is None


@pytest.mark.parametrize("transition_input", ["latent", "masked_action"])
def test_where_no_action_enters_the_recurrence_none_is_drawn(transition_input):
    model = make_model(inferred_actions="draw", transition_input=transition_input)
    assert model.inverse_dynamics is None


def test_neighbours_are_read_within_the_window_alone():
    model = CategoricalInverseDynamics(OBS_DIM, 8, ACTION_DIM).eval()
    window = torch.randn(WINDOW, 1, OBS_DIM)
    changed = window.clone()
    changed[3] += 1.0
    differ = (model.probabilities(window) != model.probabilities(changed)).flatten(1).any(1)
    assert differ.tolist() == [False, False, True, True, True, False]
