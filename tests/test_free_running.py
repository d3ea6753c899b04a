"""Where the true actions must not help: labelled rows that run free, and what is measured."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import ACTION_DIM, make_batch, make_model

from lawm.decoded_actions import decoded_actions
from lawm.fused.kernels import enable_kernels
from lawm.world_model_loss import LossOptions, world_model_terms

ROWS, LABELLED, WINDOW = 7, 4, 6


@pytest.fixture(params=[False, True], ids=["steps", "kernels"])
def kernels(request):
    enable_kernels(request.param)
    yield
    enable_kernels(False)


def batch_of(labelled=LABELLED, rows=ROWS):
    return make_batch(rows, labelled, WINDOW)


def observe(model, batch):
    torch.manual_seed(1)
    return model.observe(batch)


def rows_that_read_actions(model, batch):
    """Of the labelled rows those whose states depend on their own actions."""
    other = dataclasses.replace(batch, action=-batch.action)
    before, after = observe(model, batch).features, observe(model, other).features
    return [row for row in range(batch.num_rows) if not torch.equal(before[:, row], after[:, row])]


def test_in_training_a_share_of_the_labelled_rows_is_not_told_the_actions(kernels):
    model = make_model(free_running_share=0.5, feature_dropout=0.0, action_dropout=0.0)
    assert rows_that_read_actions(model.train(), batch_of()) == [0, 1]
    assert rows_that_read_actions(model.eval(), batch_of()) == [0, 1, 2, 3]


def test_such_rows_are_filtered_as_action_free_ones_and_taught_as_labelled_ones(kernels):
    model = make_model(free_running_share=0.5, feature_dropout=0.0, action_dropout=0.0).train()
    batch = batch_of()
    fewer = dataclasses.replace(batch, action=batch.action[:2])
    some, as_free = observe(model, batch), observe(make_same(model, 0.0), fewer)
    torch.testing.assert_close(some.features, as_free.features)
    torch.testing.assert_close(some.inverse_posterior, as_free.inverse_posterior)
    assert some.inferred_action.shape == (WINDOW, ROWS - LABELLED, ACTION_DIM)
    torch.testing.assert_close(some.inferred_action, as_free.inferred_action[:, 2:])
    assert some.action_posterior.shape[1] == ROWS
    assert some.labelled_features.shape[1] == LABELLED
    torch.testing.assert_close(some.labelled_features, some.features[:-1, :LABELLED])

    labelled, _ = world_model_terms(model, batch, some, LossOptions())
    other = dataclasses.replace(batch, action=torch.cat([batch.action[:2], -batch.action[2:]]))
    changed, _ = world_model_terms(model, other, observe(model, other), LossOptions())
    assert labelled.action != changed.action
    assert labelled.state_kl == changed.state_kl


def make_same(model, share):
    other = make_model(free_running_share=share, feature_dropout=0.0, action_dropout=0.0).train()
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("transition_input", ["action", "latent", "masked_action"])
def test_without_action_free_rows_or_inferred_actions_all_are_told(transition_input):
    model = make_model(free_running_share=1.0, transition_input=transition_input).train()
    told = make_model(transition_input=transition_input).train()
    rows = LABELLED if transition_input == "action" else ROWS
    a, b = (observe(m, batch_of(rows=rows)).features for m in (model, told))
    assert torch.equal(a, b)


def test_what_is_read_out_of_inferred_latent_actions_reads_no_action(kernels):
    model = make_model().eval()
    batch = batch_of(labelled=ROWS)
    other = dataclasses.replace(batch, action=-batch.action)
    read = []
    for windows in (batch, other):
        told, free = observe(model, windows), observe(model, windows.action_free())
        read.append(decoded_actions(model, told, free))
    assert torch.equal(read[0][0], read[1][0])
    assert not torch.equal(read[0][1], read[1][1])
    assert read[0][0].shape == read[0][1].shape == (WINDOW, ROWS, ACTION_DIM)
