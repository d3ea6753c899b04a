"""The world model in Python: numpy in and out, the same numbers as inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_factory import (
    ACTION_DIM,
    IMAGE_SHAPE,
    OBS_DIM,
    VARIANTS,
)
from small_world_model import ACTION, BATCH, HIGH, LOW, OBS, ROWS, T, chosen, make, pictures

from lawm.decoded_actions import decoded_actions
from lawm.errors import LawmError
from lawm.rssm import ModelState

variants = pytest.mark.parametrize("variant", VARIANTS)


def in_units(action):
    return LOW + (action.numpy() + 1.0) / 2.0 * (HIGH - LOW)


def row(obs, number):
    return {key: value[number] for key, value in obs.items()}


def close(one, other, atol=1e-5):
    np.testing.assert_allclose(one, other, atol=atol, rtol=1e-5)


@variants
@torch.no_grad()
def test_states_and_actions_are_those_of_the_filter_at_its_modes(variant):
    model = make(variant)
    told = model.model.observe(BATCH, sample=False)
    free = model.model.observe(BATCH.action_free(), sample=False)
    for states, observed in ((model.encode(OBS, ACTION), told), (model.encode(OBS), free)):
        close(states.h, observed.h.transpose(0, 1))
        close(states.z, observed.z.transpose(0, 1))
        close(states.features, observed.features.transpose(0, 1))
    u = model.model.latent_action.latent.mode(free.inverse_posterior).transpose(0, 1)
    close(model.infer_latent_actions(OBS), u)
    panel = decoded_actions(model.model, told, free)
    close(model.infer_actions(OBS), in_units(panel[0].transpose(0, 1)), atol=1e-4)
    before = model.encode(OBS, ACTION)[:, :-1]
    known = model.latent_of_action(before, ACTION)
    close(model.decode_action(before, known), in_units(panel[1].transpose(0, 1)), atol=1e-4)


@variants
def test_shapes_of_one_trajectory_and_of_several(variant):
    model = make(variant)
    size = model.model.latent_action.latent.size
    for leading, obs, action in (((ROWS,), OBS, ACTION), ((), row(OBS, 0), ACTION[0])):
        states = model.encode(obs, action)
        assert states.shape == (*leading, T + 1)
        assert states[..., -1].shape == leading
        assert model.infer_latent_actions(obs).shape == (*leading, T, size)
        assert model.infer_actions(obs).shape == (*leading, T, ACTION_DIM)
        imagined = model.imagine(states[..., 0], action=action)
        assert imagined.states.shape == imagined.reward.shape == (*leading, T)
        assert imagined.continuation.shape == (*leading, T)
        assert imagined.observations["state"].shape == (*leading, T, OBS_DIM)
        assert imagined.latent_action.shape == (*leading, T, size)
        assert imagined.action.shape == (*leading, T, ACTION_DIM)
        arrays = (states.h, states.features, imagined.action, imagined.reward)
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@variants
@pytest.mark.parametrize("index", [(0, 2), 1, np.s_[:, :-1], np.s_[:2, None, 3:5]])
def test_functions_of_a_state_take_any_leading_dimensions(variant, index):
    model = make(variant)
    states = model.encode(OBS, ACTION)
    known = model.latent_of_action(states, np.broadcast_to(ACTION[0, 0], (ROWS, T + 1, 2)))
    part, u = states[index], known[index]
    close(model.latent_of_action(part, ACTION[0, 0]), u)
    close(model.decode_action(part, u), model.decode_action(states, known)[index], atol=1e-4)
    if "categorical" in variant:
        close(model.prior_probabilities(part), model.prior_probabilities(states)[index])
    else:
        for one, other in zip(model.prior(part), model.prior(states), strict=True):
            close(one, other[index])
    whole = model.decode_observations(states)["state"]
    close(model.decode_observations(part)["state"], whole[index])


@variants
def test_each_of_several_trajectories_equals_itself_alone(variant):
    model = make(variant)
    start, u = model.encode(OBS, ACTION)[:, 2], chosen(model)
    together = model.imagine(start, latent_action=u)
    for number in range(ROWS):
        obs = row(OBS, number)
        close(model.encode(obs).features, model.encode(OBS).features[number])
        told = model.encode(obs, ACTION[number]).features
        close(told, model.encode(OBS, ACTION).features[number])
        close(model.infer_actions(obs), model.infer_actions(OBS)[number], atol=1e-4)
        alone = model.imagine(start[number], latent_action=u[number])
        close(alone.observations["state"], together.observations["state"][number])
        close(alone.reward, together.reward[number])
        close(alone.states.features, together.states.features[number])


@variants
@torch.no_grad()
def test_a_step_of_imagination_is_the_models_own(variant):
    model = make(variant)
    start, u = model.encode(OBS, ACTION)[:, 2], chosen(model)[:, :1]
    s = ModelState(torch.from_numpy(start.h), torch.from_numpy(start.z))
    inner = model.model
    decoded = inner.latent_action.decode(s.features, torch.from_numpy(u[:, 0]))
    x = inner.transition_input.act(torch.from_numpy(u[:, 0]), decoded)
    for seed in (None, 7):
        torch.manual_seed(7)
        expected = inner.imagine_step(inner.rssm.bind(), s, x, sample=seed is not None)
        imagined = model.imagine(start, latent_action=u, seed=seed)
        close(imagined.states.features[:, 0], expected.features)
        close(imagined.action[:, 0], in_units(decoded), atol=1e-4)
        close(imagined.reward[:, 0], inner.reward(expected.features))
        close(imagined.continuation[:, 0], inner.continue_logit(expected.features).sigmoid())
        predicted = inner.observation_decoder(expected.features)["state"]
        close(imagined.observations["state"][:, 0], predicted)
        close(model.decode_observations(imagined.states)["state"][:, 0], predicted)


@variants
def test_imagination_goes_on_from_its_own_states(variant):
    model = make(variant)
    start = model.encode(OBS, ACTION)[:, 2]
    whole = model.imagine(start, action=ACTION)
    first = model.imagine(start, action=ACTION[:, :3])
    second = model.imagine(first.states[:, -1], action=ACTION[:, 3:])
    close(second.reward, whole.reward[:, 3:])
    close(second.observations["state"], whole.observations["state"][:, 3:])
    close(whole.action, ACTION, atol=1e-4)


def test_what_was_not_chosen_follows_from_what_was():
    model = make("latent")
    start = model.encode(OBS, ACTION)[:, 2]
    by_action = model.imagine(start, action=ACTION[:, :1])
    close(by_action.latent_action[:, 0], model.latent_of_action(start, ACTION[:, 0]))
    again = model.imagine(start, latent_action=by_action.latent_action)
    close(again.states.features, by_action.states.features)
    close(again.action[:, 0], model.decode_action(start, by_action.latent_action[:, 0]), 1e-4)


def test_one_start_under_several_actions_and_several_starts_under_one_sequence():
    model = make()
    start = model.encode(OBS, ACTION)[:, 2]
    several = model.imagine(start[0], action=ACTION)
    assert several.reward.shape == (ROWS, T)
    close(several.reward[1], model.imagine(start[0], action=ACTION[1]).reward)
    alike = model.imagine(start, action=ACTION[0])
    close(alike.reward[1], model.imagine(start[1], action=ACTION[0]).reward)


@variants
def test_nothing_is_drawn_without_a_seed_and_the_same_with_the_same_seed(variant):
    model = make(variant)
    before = torch.get_rng_state()

    def numbers(seed):
        start = model.encode(OBS, seed=seed)[:, 0]
        imagined = model.imagine(start, latent_action=chosen(model), seed=seed)
        u = model.infer_latent_actions(OBS, seed=seed)
        return start.z, imagined.states.z, u

    for seed in (None, 3):
        for one, other in zip(numbers(seed), numbers(seed), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(numbers(3), numbers(4), strict=True):
        assert not np.allclose(one, other)
    assert torch.get_rng_state().equal(before)


def test_samples_of_the_latent_action_lie_around_its_mode():
    model = make()
    samples = np.stack([model.infer_latent_actions(OBS, seed=seed)[:, 0] for seed in range(300)])
    features = np.stack([model.encode(OBS, seed=seed).features[:, 0] for seed in range(300)])
    assert features.std(axis=0).max() > 0.05  # z is sampled as well
    spread = samples.std(axis=0)
    assert (spread > 0.1).all()
    distance = np.abs(samples.mean(axis=0) - model.infer_latent_actions(OBS)[:, 0])
    assert (distance < spread).all()


def test_the_prior_of_a_gaussian_latent_action():
    model = make()
    states = model.encode(OBS)
    mean, std = model.prior(states)
    inner = model.model.latent_action
    with torch.no_grad():
        expected = inner.latent.mean_std(inner.prior(torch.from_numpy(states.features)))
    close(mean, expected[0])
    close(std, expected[1])
    assert mean.shape == std.shape == (ROWS, T + 1, 3)
    assert (std > 0).all()
    with pytest.raises(LawmError, match=r"is Gaussian\. Use prior"):
        model.prior_probabilities(states)


def test_the_prior_of_a_categorical_latent_action():
    model = make("action_categorical")
    states = model.encode(OBS)
    probabilities = model.prior_probabilities(states)
    assert probabilities.shape == (ROWS, T + 1, 3, 8)
    close(probabilities.sum(axis=-1), 1.0)
    with pytest.raises(LawmError, match=r"is categorical\. Use prior_probabilities"):
        model.prior(states)


def test_a_lone_observation_is_encoded_as_the_first_of_more():
    model = make()
    first = {"state": OBS["state"][:, :1]}
    close(model.encode(first).features, model.encode(OBS).features[:, :1])
    close(model.encode(first, ACTION[:, :0]).features, model.encode(OBS).features[:, :1])
    assert model.encode(row(first, 0)).shape == (1,)
    with pytest.raises(LawmError, match="expected at least two"):
        model.infer_actions(first)


def test_an_unknown_action_is_masked_where_the_model_infers_none():
    model = make("masked_action")
    assert not np.allclose(model.encode(OBS).h[:, 1:], model.encode(OBS, ACTION).h[:, 1:])
    close(model.encode(OBS).h[:, 0], model.encode(OBS, ACTION).h[:, 0])


@pytest.mark.usefixtures("kernels")
def test_the_kernels_do_not_matter():
    from lawm.fused.kernels import enable_kernels

    model, by_kernels = make(), {}
    for on in (True, False):
        enable_kernels(on)
        imagined = model.imagine(model.encode(OBS)[:, -1], action=ACTION)
        by_kernels[on] = [model.infer_actions(OBS), imagined.reward, *model.prior(imagined.states)]
    for one, other in zip(by_kernels[True], by_kernels[False], strict=True):
        close(one, other, atol=1e-4)


def test_images_are_predicted_as_images():
    model = make(images=("camera",), states=False)
    imagined = model.imagine(model.encode(pictures())[:, -1], action=ACTION)
    picture = imagined.observations["camera"]
    assert picture.shape == (ROWS, T, *IMAGE_SHAPE)
    assert picture.dtype == np.uint8
    features = torch.from_numpy(imagined.states.features)
    with torch.no_grad():
        mean = model.model.observation_decoder.pictures(features)["camera"]
    assert np.abs(picture - mean.numpy()).max() <= 0.5
    assert mean.std() > 1.0
    assert model.infer_actions(pictures()).shape == (ROWS, T, ACTION_DIM)


def test_images_that_are_not_decoded_are_refused_and_all_else_is_imagined():
    config = {"observation_loss": "redundancy_reduction"}
    model = make(images=("camera",), **config)
    obs = pictures() | OBS
    imagined = model.imagine(model.encode(obs)[:, -1], action=ACTION)
    assert imagined.reward.shape == (ROWS, T)
    assert list(imagined.observations) == ["state"]
    with pytest.raises(LawmError, match=r"predicts no observation 'camera'.*\['state'\]"):
        imagined.observations["camera"]
    probed = make(images=("camera",), states=False, **config, image_probe=True)
    states = probed.encode(pictures())
    assert probed.decode_observations(states)["camera"].dtype == np.uint8


@pytest.mark.parametrize("kind", [np.float64, np.float32, list])
def test_numbers_of_any_kind_are_taken(kind):
    model = make()
    obs = OBS["state"].tolist() if kind is list else OBS["state"].astype(kind)
    action = ACTION.tolist() if kind is list else ACTION.astype(kind)
    close(model.encode({"state": obs}, action).features, model.encode(OBS, ACTION).features)
