"""Properties of the world model that a smoke test does not see."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import ACTION_DIM, OBS_DIM, SMALL, VARIANTS, make_batch, make_model, make_spec

from lawm.batch import Batch
from lawm.imagination import imagine
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.spec import DataSpec, ObservationSpec
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossOptions, world_model_terms

variants = pytest.mark.parametrize("variant", VARIANTS)


def observe(model, batch):
    torch.manual_seed(1)  # the same noise each time
    return model.observe(batch)


def with_obs(batch: Batch, obs: torch.Tensor) -> Batch:
    return dataclasses.replace(batch, obs={"state": obs})


@variants
def test_shapes(variant):
    model, batch = make_model(**VARIANTS[variant]), make_batch(rows=6, labelled=2, window=7)
    observed = observe(model, batch)
    assert observed.features.shape == (8, 6, model.rssm.feature_size)
    assert (
        observed.z_prior.shape == observed.z_posterior.shape == (8, 6, model.rssm.latent.num_params)
    )
    params = model.latent_action.latent.num_params
    rows = 2 if observed.inferred_action is None else 6
    assert observed.action_posterior.shape == (7, rows, params)
    assert observed.inverse_posterior.shape == observed.action_prior.shape == (7, 6, params)


@variants
@torch.no_grad()
def test_without_sampling_all_are_at_their_modes_and_nothing_is_drawn(variant):
    model, batch = make_model(**VARIANTS[variant]).eval(), make_batch(rows=6, labelled=2)
    before = torch.get_rng_state()
    first, second = (model.observe(batch, sample=False) for _ in range(2))
    assert first.features.equal(second.features)
    torch.testing.assert_close(first.z, model.rssm.latent.mode(first.z_posterior))
    state, x = ModelState(first.h[0], first.z[0]), torch.ones(6, model.transition_input.size)
    imagined = model.imagine_step(model.rssm.bind(), state, x, sample=False)
    torch.testing.assert_close(imagined.z, model.rssm.latent.mode(model.rssm.prior(imagined.h)))
    assert torch.get_rng_state().equal(before)


@variants
def test_a_row_does_not_touch_the_others(variant):
    model, batch = make_model(**VARIANTS[variant]), make_batch()
    before = observe(model, batch)
    changed = batch.obs["state"].clone()
    changed[4] += 1.0
    after = observe(model, with_obs(batch, changed))
    others = [0, 1, 2, 3, 5]
    torch.testing.assert_close(after.features[:, others], before.features[:, others])
    assert not torch.allclose(after.features[:, 4], before.features[:, 4])


@variants
def test_nothing_at_or_before_t_sees_two_steps_ahead(variant):
    """q_free at t looks at o_{t+1}, and no further; states at t look at o_t."""
    model, batch, t = make_model(**VARIANTS[variant]), make_batch(), 3
    before = observe(model, batch)
    changed = batch.obs["state"].clone()
    changed[:, t + 2] += 1.0
    after = observe(model, with_obs(batch, changed))
    torch.testing.assert_close(after.features[: t + 2], before.features[: t + 2])
    torch.testing.assert_close(after.inverse_posterior[: t + 1], before.inverse_posterior[: t + 1])
    assert not torch.allclose(after.inverse_posterior[t + 1], before.inverse_posterior[t + 1])
    assert not torch.allclose(after.features[t + 2], before.features[t + 2])


@variants
def test_the_action_moves_the_next_state_and_no_earlier_one(variant):
    model, batch, t = make_model(**VARIANTS[variant]), make_batch(), 3
    before = observe(model, batch)
    action = batch.action.clone()
    action[0, t] = -action[0, t]
    after = observe(model, dataclasses.replace(batch, action=action))
    torch.testing.assert_close(after.h[: t + 1], before.h[: t + 1])
    if variant == "latent_categorical":  # the change may leave the sampled class as it is
        assert not torch.allclose(after.action_posterior[t, 0], before.action_posterior[t, 0])
    else:
        assert not torch.allclose(after.h[t + 1, 0], before.h[t + 1, 0])


def test_action_variant_feeds_the_known_action_itself():
    model, batch = make_model(), make_batch(labelled=6)
    observed = observe(model, batch)
    rssm = model.rssm.bind()
    expected = rssm.recur(observed.h[0], observed.z[0], batch.action[:, 0])
    torch.testing.assert_close(observed.h[1], expected)


@pytest.mark.parametrize("variant", ["action", "action_categorical"])
def test_inferred_actions_enter_the_dynamics_without_noise(variant):
    model, batch = make_model(**VARIANTS[variant], action_dropout=0.9), make_batch(labelled=2)
    observed = observe(model.train(), batch)
    h, z, features = observed.h[:, 2:], observed.z[0, 2:], observed.features[0, 2:]
    u = model.latent_action.latent.mode(observed.inverse_posterior[0, 2:])
    action = model.eval().latent_action.decode(features, u)
    torch.testing.assert_close(h[1], model.rssm.bind().recur(h[0], z, action))


def test_decoded_actions_stay_within_the_bounds():
    model = make_model()
    features = 50 * torch.randn(64, model.rssm.feature_size)
    decoded = model.latent_action.decode(features, 50 * torch.randn(64, 3))
    assert decoded.shape == (64, ACTION_DIM)
    assert decoded.abs().max() <= 1.0


def test_bound_layers_compute_what_the_modules_compute():
    model = make_model().eval()  # no dropout, which would differ between the calls
    features, u = torch.randn(4, model.rssm.feature_size), torch.randn(4, 3)
    transition, action = torch.randn(4, 2 * OBS_DIM), torch.randn(4, ACTION_DIM)
    latent_action, step = model.latent_action, model.latent_action.bind()
    torch.testing.assert_close(step.decode(features, u), latent_action.decode(features, u))
    projected = latent_action.project_transition(transition, with_labels=False)
    torch.testing.assert_close(
        step.inverse_posterior(features, projected),
        latent_action.inverse_posterior(features, projected),
    )
    projected = latent_action.project_action(action)
    torch.testing.assert_close(
        step.action_posterior(features, projected),
        latent_action.action_posterior(features, projected),
    )


def test_data_that_never_terminate_need_no_continue_head():
    model = WorldModel(
        dataclasses.replace(make_spec(), terminates=False), WorldModelConfig(**SMALL)
    )
    assert model.continue_head is None
    assert model.continue_logit(torch.zeros(2, model.rssm.feature_size)) is None
    terms, _ = world_model_terms(model, make_batch(), model.observe(make_batch()), LossOptions())
    assert terms.continuation == 0.0
    policy = LatentPolicyModule(model, model.spec, hidden=16, horizon=3)
    start = ModelState(torch.randn(4, 16), torch.randn(4, 4))
    imagined = imagine(model, policy.policy, policy.constraint, start, 3)
    assert imagined.continuation.eq(1.0).all()


def test_a_spec_from_before_knows_nothing_of_terminal_states():
    """A checkpoint of an older version has the head, and must find it."""
    values = make_spec().to_dict()
    del values["terminates"]
    assert WorldModel(DataSpec.from_dict(values), WorldModelConfig(**SMALL)).continue_head


def test_several_keys_are_encoded_and_decoded_together():
    spec = make_spec()
    extra = ObservationSpec((2,), "state", (0.0, 0.0), (1.0, 1.0), (0.5, 0.5))
    spec = dataclasses.replace(spec, observations={**spec.observations, "touch": extra})
    model = WorldModel(spec, WorldModelConfig(deter=16, hidden=16, embed=16))
    batch = make_batch()
    obs = {**batch.obs, "touch": torch.randn(6, 8, 2)}
    observed = model.observe(dataclasses.replace(batch, obs=obs))
    decoded = model.observation_decoder(observed.features)
    assert decoded["state"].shape == (8, 6, 5)
    assert decoded["touch"].shape == (8, 6, 2)
