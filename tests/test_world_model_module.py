"""Losses of stage 1: which rows train what, and what may not depend on what."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import (
    SMALL,
    VARIANTS,
    loss_of,
    make_batch,
    make_spec,
    make_world_model_module,
)

from lawm.latents import GaussianLatent
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import (
    LossCoefficients,
    LossOptions,
    balanced_kl,
    masked_mean,
    world_model_terms,
)
from lawm.world_model_module import RateConfig, WorldModelModule

UNLABELLED = LossOptions(self_labels=False)

variants = pytest.mark.parametrize("variant", VARIANTS)


@variants
def test_every_parameter_gets_a_gradient_from_a_mixed_batch(variant):
    """Plain DDP stops on a parameter without one."""
    module = make_world_model_module(variant)
    loss, _ = loss_of(module, make_batch())
    loss.backward()
    without = [name for name, p in module.named_parameters() if p.grad is None]
    assert without == []


@variants
def test_a_batch_without_labelled_rows_has_zero_supervised_terms(variant):
    loss, logs = loss_of(make_world_model_module(variant), make_batch(labelled=0))
    assert torch.isfinite(loss)
    supervised = ("action", "align_action", "align_kl", "observation", "reward")
    assert all(logs[f"labelled/{name}"] == 0 for name in supervised)


@variants
def test_every_parameter_gets_a_gradient_even_without_labelled_rows(variant):
    module = make_world_model_module(variant)
    loss_of(module, make_batch(labelled=0))[0].backward()
    without = [name for name, p in module.named_parameters() if p.grad is None]
    assert without == []


@variants
def test_a_batch_without_action_free_rows_is_finite(variant):
    loss, logs = loss_of(make_world_model_module(variant), make_batch(rows=4, labelled=4))
    assert torch.isfinite(loss)
    assert not any(name.startswith("action_free/") for name in logs)


def test_unknown_rewards_change_nothing():
    module, batch = make_world_model_module(), make_batch()
    garbage = batch.reward.clone()
    garbage[3:] = 1e6 * torch.randn_like(garbage[3:])
    loss, _ = loss_of(module, batch)
    other, _ = loss_of(module, dataclasses.replace(batch, reward=garbage))
    assert loss.item() == other.item()


def test_known_rewards_of_action_free_rows_count():
    module = make_world_model_module()
    _, logs = loss_of(module, make_batch(all_rewards=True))
    assert logs["action_free/reward"] > 0


def test_alignment_does_not_move_the_action_posterior():
    """KL(sg(q_act)||q_free): the inverse posterior learns, the action posterior does not."""
    latent = GaussianLatent(2)
    q_act = torch.randn(3, 4, requires_grad=True)
    q_free = torch.randn(3, 4, requires_grad=True)
    latent.kl(q_act.detach(), q_free).sum().backward()
    assert q_act.grad is None
    assert q_free.grad is not None


@pytest.mark.parametrize(
    ("variant", "settings", "reaches"),
    [
        ("action", {"options": UNLABELLED}, False),
        ("action", {"options": LossOptions(inverse_kl_gradient=0.5, self_labels=False)}, True),
        ("action", {"options": UNLABELLED, "rate": RateConfig("target")}, True),
        ("latent", {}, True),
    ],
)
def test_where_the_bounds_of_the_action_hold_u_the_kl_of_free_rows_trains_the_prior_alone(
    variant, settings, reaches
):
    module = make_world_model_module(variant, **settings)
    batch = make_batch(labelled=0)
    torch.manual_seed(1)
    observed = module.model.observe(batch)
    _, free = world_model_terms(module.model, batch, observed, module.options)
    posterior, prior = torch.autograd.grad(
        free.latent_action_kl,
        [observed.inverse_posterior, observed.action_prior],
        materialize_grads=True,  # what was cut out of the graph has none
    )
    assert free.latent_action_kl > 0
    assert prior.abs().max() > 0
    assert (posterior.abs().max() > 0) == reaches


def action_free_terms(module, batch):
    torch.manual_seed(1)
    observed = module.model.observe(batch)
    return observed, world_model_terms(module.model, batch, observed, module.options)[1]


@pytest.mark.parametrize("labelled", [0, 3])
def test_action_free_rows_are_labelled_with_the_actions_inferred_there(labelled):
    module, batch = make_world_model_module().eval(), make_batch(labelled=labelled)
    observed, terms = action_free_terms(module, batch)
    latent_action, features = module.model.latent_action, observed.features[:-1, labelled:]
    own = latent_action.decode(features, observed.inverse_posterior[:, labelled:, :3])  # the means
    q_act = latent_action.action_posterior(features, latent_action.project_action(own))
    kl = latent_action.latent.total_kl(q_act, observed.action_prior[:, labelled:])
    torch.testing.assert_close(terms.latent_action_kl, kl.mean())
    assert terms.action != 0


def test_own_actions_are_constants_to_what_infers_them():
    # one step: the recurrence, through which q_free learns otherwise, is behind it
    module, batch = make_world_model_module(), make_batch(labelled=0, window=1)
    _, terms = action_free_terms(module, batch)
    latent_action = module.model.latent_action
    inferring = latent_action.inverse_projection.weight, latent_action.inverse_output.weight
    labelling = latent_action.decoder_output.weight, latent_action.action_output.weight
    gradients = torch.autograd.grad(
        terms.action + terms.latent_action_kl, [*inferring, *labelling], allow_unused=True
    )
    assert all(g is None or g.abs().max() == 0 for g in gradients[:2])
    assert all(g.abs().max() > 0 for g in gradients[2:])


@pytest.mark.parametrize(
    ("variant", "settings"),
    [("action", {"options": UNLABELLED}), ("latent", {}), ("masked_action", {})],
)
def test_no_action_is_learned_from_action_free_rows_without_self_labels(variant, settings):
    _, terms = action_free_terms(make_world_model_module(variant, **settings), make_batch())
    assert terms.action == 0


def test_the_alignment_alone_teaches_what_infers_actions():
    """Its weight sets what the decoder hears of it and, with Adam, not how well q_free learns."""

    def gradients(align_action, align_kl):
        coefficients = LossCoefficients(align_action=align_action, align_kl=align_kl)
        module = make_world_model_module(coefficients=coefficients)
        loss_of(module, make_batch())[0].backward()
        named = module.model.latent_action.named_parameters()
        return {name: p.grad for name, p in named if name.startswith("inverse_")}

    assert all(torch.all(gradient == 0.0) for gradient in gradients(0.0, 0.0).values())
    whole, tenth = gradients(1.0, 0.1), gradients(0.1, 0.01)
    assert any(torch.any(gradient != 0.0) for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(0.1 * gradient, tenth[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gradient", [0.0, 1.0])
def test_the_dynamics_teach_what_infers_actions_as_far_as_they_are_allowed(gradient):
    torch.manual_seed(0)
    config = WorldModelConfig(**SMALL, inverse_gradient=gradient)
    module = WorldModelModule(make_spec(), config)
    _, terms = action_free_terms(module, make_batch(labelled=0))
    weight = module.model.latent_action.inverse_output.weight
    loss = terms.observation + terms.state_kl
    (found,) = torch.autograd.grad(loss, [weight], materialize_grads=True)
    assert (found.abs().max() > 0) == (gradient > 0)


def test_features_are_dropped_in_training_where_actions_are_learned_from_labels():
    module, batch = make_world_model_module(), make_batch()
    before = module.model.observe(batch)
    dropped = before.labelled_features == 0
    assert 0.3 < dropped.float().mean() < 0.7
    torch.testing.assert_close(
        before.labelled_features[~dropped],
        2.0 * before.features[:-1, :3][~dropped],
        rtol=1e-4,
        atol=0,
    )
    observed = module.eval().model.observe(batch)
    assert torch.equal(observed.labelled_features, observed.features[:-1, :3])


def test_free_nats_stop_the_gradient_of_a_small_kl():
    latent = GaussianLatent(2)
    q = torch.randn(5, 3, 4, requires_grad=True)
    p = (q.detach() + 0.01 * torch.randn(5, 3, 4)).requires_grad_()
    loss, nats = balanced_kl(latent, q, p, balance=0.8, free_nats=1.0)
    torch.testing.assert_close(loss, torch.ones(5, 3))
    assert nats.max() < 1.0
    loss.sum().backward()
    assert q.grad.abs().sum() == p.grad.abs().sum() == 0


def test_balance_shares_the_gradient_between_prior_and_posterior():
    latent = GaussianLatent(1)
    q, p = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 0.0]]])
    grads = {}
    for balance in (0.8, 1.0):
        q_, p_ = q.clone().requires_grad_(), p.clone().requires_grad_()
        balanced_kl(latent, q_, p_, balance, 0.0)[0].sum().backward()
        grads[balance] = [None if x.grad is None else x.grad[0, 0, 0].item() for x in (q_, p_)]
    assert grads[1.0][0] is None
    assert grads[0.8][1] == pytest.approx(0.8 * grads[1.0][1])
    assert grads[0.8][0] == pytest.approx(-0.2 * grads[1.0][1])


def test_masked_mean_counts_the_known_rows_alone():
    values = torch.tensor([[1.0, 10.0, 100.0], [3.0, 30.0, 300.0]])
    mask = torch.tensor([True, False, True])
    assert masked_mean(values, mask, slice(0, 2)) == 2.0
    assert masked_mean(values, mask, slice(2, None)) == 200.0
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool), slice(None)) == 0.0


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_the_loss_does_not_know_in_which_unit_rewards_come(size):
    batch, loss = make_batch(), []
    for factor in (1.0, size):
        torch.manual_seed(0)
        spec = dataclasses.replace(make_spec(), reward_size=factor)
        module = WorldModelModule(spec, WorldModelConfig(**SMALL))
        of_unit = dataclasses.replace(batch, reward=batch.reward * factor)
        loss.append(loss_of(module, of_unit)[0])
        predicted = module.model.reward(torch.ones(1, module.model.rssm.feature_size))
        loss.append(predicted / factor)
    torch.testing.assert_close(loss[0], loss[2])
    torch.testing.assert_close(loss[1], loss[3])


def test_a_warmup_trains_on_labelled_rows_alone_and_then_on_all():
    options = LossOptions(labelled_warmup_steps=3)
    assert [options.at(step).action_free_weight for step in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    module, batch = make_world_model_module(options=options), make_batch()
    module.on_train_batch_start(batch, 0)  # outside of a trainer, at step 0
    loss_of(module, batch)[0].backward()
    alone = make_world_model_module(options=LossOptions(action_free_weight=0.0))
    loss_of(alone, batch)[0].backward()
    for (name, warm), other in zip(module.named_parameters(), alone.parameters(), strict=True):
        assert warm.grad is not None, f"plain DDP stops at {name}"
        torch.testing.assert_close(warm.grad, other.grad)


def test_held_out_r2_is_the_plain_one():
    module = make_world_model_module()
    predicted, target = torch.randn(2, 8, make_spec().action_dim)
    error = (predicted - target).square().sum() / (target - target.mean(dim=0)).square().sum()
    for metric in (module.r2_inverse, module.r2_action):
        metric.update(predicted, target)
        torch.testing.assert_close(metric.compute(), 1.0 - error)
