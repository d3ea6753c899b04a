"""The baseline that marks unknown actions and infers none."""

from __future__ import annotations

import torch
from model_factory import ACTION_DIM, SMALL, make_batch, make_model, make_spec

from lawm.transition_input import MaskedActionInput
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossOptions, world_model_terms
from lawm.world_model_module import RateConfig, WorldModelModule


def observe(model, batch):
    torch.manual_seed(1)
    return model.observe(batch)


def test_known_actions_are_not_marked_and_unknown_ones_are():
    action = torch.randn(5, 2, ACTION_DIM)
    rows = MaskedActionInput(ACTION_DIM).known_rows(action, 6)
    assert torch.equal(rows[:, :2, :-1], action)
    assert (rows[:, :2, -1] == 0).all()
    assert (rows[:, 2:, :-1] == 0).all()
    assert (rows[:, 2:, -1] == 1).all()


def test_in_imagination_no_action_is_marked():
    u, action = torch.randn(4, 3), torch.randn(4, ACTION_DIM)
    x = MaskedActionInput(ACTION_DIM).act(u, action)
    assert torch.equal(x[:, :-1], action)
    assert (x[:, -1] == 0).all()


def test_the_inverse_posterior_has_no_part_in_filtering():
    model, batch = make_model(transition_input="masked_action").eval(), make_batch(6, 2)
    before = observe(model, batch).features
    with torch.no_grad():
        model.latent_action.inverse_output.weight.normal_(std=10.0)
        model.latent_action.decoder_output.weight.normal_(std=10.0)
    assert torch.equal(observe(model, batch).features, before)


def test_the_no_action_vector_is_learned_from_the_action_free_rows():
    def mask_gradient(labelled):
        module = WorldModelModule(
            make_spec(), WorldModelConfig(**SMALL, transition_input="masked_action")
        )
        torch.nn.init.normal_(module.model.observation_decoder.decoders[0].mlp.output.weight)
        module.compute_loss(make_batch(6, labelled))[0].backward()
        return module.model.rssm.transition_layer.linear.weight.grad[:, -1].abs().sum()

    assert mask_gradient(2) > 0
    assert mask_gradient(6) == 0


def test_a_target_rate_is_that_of_the_labelled_rows():
    config = WorldModelConfig(**SMALL, transition_input="masked_action")
    module = WorldModelModule(make_spec(), config, rate=RateConfig(control="target"))
    rates = []
    module.rate_control.dual_loss = lambda rate: rates.append(rate) or rate.new_zeros(())
    _, logs = module.compute_loss(make_batch(6, 2))
    assert rates[0] == logs["labelled/latent_action_kl"] > 0


def test_action_free_rows_do_not_train_the_prior_of_the_latent_action():
    model, batch = make_model(transition_input="masked_action"), make_batch(6, 2)
    labelled, free = world_model_terms(model, batch, observe(model, batch), LossOptions())
    assert labelled.latent_action_kl > 0
    assert free.latent_action_kl == 0


def test_without_a_labelled_row_a_target_rate_stays_where_it_is():
    config = WorldModelConfig(**SMALL, transition_input="masked_action")
    module = WorldModelModule(make_spec(), config, rate=RateConfig(control="target"))
    for labelled, moves in ((0, False), (2, True)):
        module.zero_grad()
        module.compute_loss(make_batch(6, labelled))[0].backward()
        assert (module.rate_control.log_beta.grad is not None) == moves
