from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from model_factory import IMAGE_SHAPE, SMALL, add_images, make_batch, make_model, make_spec

from lawm import image_observations
from lawm.agent import LatentActionAgent
from lawm.errors import LawmError
from lawm.image_observations import ImageDecoder, ImageEncoder, pixel_spread, pyramid
from lawm.open_loop import last_frame, open_loop, standardised_error, targets
from lawm.policy_module import LatentPolicyModule
from lawm.spec import ObservationSpec
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossOptions, world_model_terms
from lawm.world_model_module import WorldModelModule

IMAGES = ("pixels", "pixels_wrist")
TINY = SMALL | {"image_depth": 2, "image_shift": 2}
LOSSES = ("reconstruction", "redundancy_reduction")


def batch_of(spec, **changes):
    batch = add_images(make_batch(**changes), *IMAGES)
    return dataclasses.replace(batch, obs={key: batch.obs[key] for key in spec.observations})


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("images", "states"), [(IMAGES[:1], False), (IMAGES, False), (IMAGES, True)]
)
def test_any_set_of_keys_is_trained_together(images, states, loss):
    """Every parameter gets a finite gradient, whatever the observations."""
    spec = make_spec(images, states)
    torch.manual_seed(0)
    module = WorldModelModule(spec, WorldModelConfig(**TINY, observation_loss=loss))
    total, _ = module.compute_loss(batch_of(spec))
    total.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    decoded = module.model.eval().observation_decoder(torch.zeros(4, 2, 20))
    if loss == "reconstruction":
        assert all(decoded[key].shape == (4, 2, *IMAGE_SHAPE) for key in images)
    else:
        assert all(decoded[key].shape == (4, 2, SMALL["embed"]) for key in images)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_few_updates_learn_a_moving_picture(loss):
    """A bright column whose place the action moves: the loss falls, and so does the error."""
    torch.manual_seed(0)
    spec = make_spec(IMAGES[:1], states=False)
    config = WorldModelConfig(**(TINY | {"image_shift": 0, "hidden": 32}), observation_loss=loss)
    module = WorldModelModule(spec, config, learning_rate=3e-3, warmup_steps=1)
    batch = make_batch(rows=8, labelled=8, window=4)
    place = torch.cat([torch.zeros(8, 1), batch.action[..., 0].cumsum(1)], 1).add(3).mul(4).long()
    bright = torch.arange(24) == place.clamp(0, 23)[..., None]
    images = (bright[:, :, None, :, None] * 255).expand(-1, -1, *IMAGE_SHAPE).byte()
    batch = dataclasses.replace(batch, obs={"pixels": images})
    optimiser = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(40):
        total, logs = module.compute_loss(batch)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(logs["labelled/observation"].item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("shape", "stages", "grid"),
    [
        ((64, 64, 3), 4, (4, 4)),
        ((48, 48, 3), 3, (6, 6)),
        ((80, 80, 1), 4, (5, 5)),
        ((64, 96, 3), 4, (4, 6)),
        ((128, 128, 9), 5, (4, 4)),
        ((8, 8, 3), 1, (4, 4)),
        ((84, 84, 9), 4, (6, 6)),
        ((64, 100, 3), 4, (4, 7)),
        ((9, 11, 3), 1, (5, 6)),
    ],
)
def test_any_size_fits(shape, stages, grid):
    assert pyramid("pixels", shape) == (stages, grid)
    spec = ObservationSpec(shape, "image")
    images = torch.zeros(2, 3, *shape, dtype=torch.uint8)
    assert ImageEncoder("pixels", spec, 2, 5)(images).shape == (2, 3, 5)
    assert ImageDecoder("pixels", spec, 7, 2, 1.0)(torch.zeros(2, 3, 7)).shape == images.shape


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"the channels seem to stand first"),
        ((64, 64), r"expected an image \(height, width, channels\)"),
        ((64, 64, 40), r"expected an image .* with 1 to 16 channels"),
        ((4, 64, 3), r"sides of at least 8 pixels"),
    ],
)
def test_shapes_that_do_not_fit_are_told(shape, message):
    spec = make_spec(IMAGES[:1])
    spec.observations["pixels"] = ObservationSpec(shape, "image")
    with pytest.raises(LawmError, match=message):
        make_model(spec=spec)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"image_depth": 0}, r"image_depth is 0; expected a number of channels from 1"),
        ({"image_std": 0.0}, r"image_std is 0\.0; expected a standard deviation above 0"),
        ({"image_decoded_share": 0.0}, r"image_decoded_share is 0\.0; expected a share"),
        ({"image_decoded_share": 1.1}, r"image_decoded_share is 1\.1; expected a share"),
        ({"image_shift": -1}, r"image_shift is -1; expected a number of pixels from 0"),
    ],
)
def test_settings_out_of_range_are_told(setting, message):
    with pytest.raises(LawmError, match=message):
        make_model(spec=make_spec(IMAGES), **setting)


def test_without_gradients_the_frames_go_through_in_parts(monkeypatch):
    spec = ObservationSpec(IMAGE_SHAPE, "image")
    torch.manual_seed(0)
    encoder, decoder = ImageEncoder("pixels", spec, 2, 5), ImageDecoder("pixels", spec, 7, 2, 1.0)
    images = torch.randint(256, (5, 3, *IMAGE_SHAPE), dtype=torch.uint8)
    features, embed = torch.randn(5, 3, 7), torch.zeros(5, 3, 5)
    whole = encoder(images), decoder(features), decoder.loss(features, images, embed)
    monkeypatch.setattr(image_observations, "FRAMES_AT_ONCE", 4)
    largest = 0

    def watch(module, inputs):
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    for layers in (encoder.layers, decoder.layers):
        layers.register_forward_pre_hook(watch)
    with torch.no_grad():
        parts = encoder(images), decoder(features), decoder.loss(features, images, embed)
    assert largest == 4
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_is_a_gaussians_in_nats_but_for_its_constant():
    spec = ObservationSpec(IMAGE_SHAPE, "image")
    torch.manual_seed(0)
    decoder = ImageDecoder("pixels", spec, 7, 2, std=0.3)
    images = torch.randint(256, (4, *IMAGE_SHAPE), dtype=torch.uint8)
    features = torch.randn(4, 7)
    mean = decoder._centred_mean(features) + 0.5
    normal = torch.distributions.Normal(mean, 0.3)
    constant = -normal.log_prob(mean).sum(dim=(1, 2, 3))
    expected = -normal.log_prob(images / 255.0).sum(dim=(1, 2, 3)) - constant
    torch.testing.assert_close(decoder.loss(features, images, features), expected)
    dreamer = ImageDecoder("pixels", spec, 7, 2, std=WorldModelConfig().image_std)
    dreamer.load_state_dict(decoder.state_dict())
    squares = (images / 255.0 - mean).square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(dreamer.loss(features, images, features), squares)


def test_the_mean_image_is_in_units_of_brightness():
    spec = ObservationSpec(IMAGE_SHAPE, "image")
    decoder = ImageDecoder("pixels", spec, 7, 2, std=1.0)
    for bias, brightness in ((0.0, 127.5), (0.25, 191.25), (9.0, 255.0), (-9.0, 0.0)):
        torch.nn.init.zeros_(decoder.layers[-1].weight)
        torch.nn.init.constant_(decoder.layers[-1].bias, bias)
        assert decoder(torch.zeros(2, 7)).eq(brightness).all()


def test_the_spread_is_that_of_each_pixel():
    images = torch.zeros(4, 5, *IMAGE_SHAPE, dtype=torch.uint8)
    images[..., :12, :] = 200  # what never moves has no spread, however bright
    assert pixel_spread(images, 3) == 1.0
    images[:2] += 50
    assert pixel_spread(images, 3) == pytest.approx(25.0)


@torch.no_grad()
@pytest.mark.parametrize("loss", LOSSES)
def test_open_loop_errors_of_images(loss):
    spec = make_spec(IMAGES, states=True)
    model = make_model(spec=spec, **(TINY | {"observation_loss": loss})).eval()
    batch = batch_of(spec, labelled=6)
    observed = model.observe(batch)
    truth = targets(model, batch, observed)
    predicted = open_loop(model, batch, observed, 2, "inverse").observation
    assert standardised_error(model, predicted, truth, 2).shape == (5,)
    exact = {key: value[3:] for key, value in truth.items()}
    assert standardised_error(model, exact, truth, 2).abs().max() == 0.0
    copied = standardised_error(model, last_frame(truth, 2), truth, 2)
    assert (copied > 0.0).all()
    if loss == "reconstruction":  # independent images: copying one has the variance of both
        only = {key: truth[key] for key in IMAGES}
        decoder = model.observation_decoder
        decoder.keys, decoder.decoders = IMAGES, decoder.decoders[:2]  # leave out the states
        copied = standardised_error(model, last_frame(only, 2), only, 2)
        torch.testing.assert_close(copied, torch.full((5,), 2.0), rtol=0.1, atol=0.0)


def test_settings_of_images_change_nothing_for_states():
    """The same weights, the same numbers, and the same random numbers drawn."""
    seen = []
    for settings in ({}, {"image_shift": 9, "image_depth": 3, "image_probe": True}):
        model = make_model(spec=make_spec(), **settings, observation_loss=LOSSES[bool(settings)])
        batch = make_batch()
        terms, _ = world_model_terms(model, batch, model.observe(batch), LossOptions())
        seen.append((terms.observation, torch.get_rng_state()))
    for one, other in zip(*seen, strict=True):
        assert one.equal(other)


def test_an_agent_acts_on_images_and_names_what_does_not_fit():
    spec = make_spec(IMAGES[:1], states=False)
    model = make_model(spec=spec, **TINY)
    policy = LatentPolicyModule(model, spec, hidden=16)
    agent: LatentActionAgent = policy.eval().agent()
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(2, 3, *IMAGE_SHAPE), dtype=np.uint8)
    first, state = agent.act({"pixels": images[0]})
    second, _ = agent.act({"pixels": images[1]}, state)
    assert first.shape == second.shape == (3, 2)
    single, _ = agent.act({"pixels": images[0, 1]})
    np.testing.assert_allclose(single, first[1], atol=1e-5)
    for obs, message in (
        ({"state": images[0]}, r"has no key 'pixels'; it has \['state'\]"),
        ({"pixels": images[0] / 255.0}, r"'pixels' is of type float64; expected images of uint8"),
        ({"pixels": images[0].transpose(0, 3, 1, 2)}, r"has shape \(3, 3, 16, 24\).*\(16, 24, 3\)"),
    ):
        with pytest.raises(LawmError, match=message):
            agent.act(obs)


def test_bfloat16_computes_the_same_within_its_digits():
    spec = make_spec(IMAGES[:1], states=False)
    model = make_model(spec=spec, **(TINY | {"image_shift": 0})).eval()
    batch = batch_of(spec)

    def terms(enabled):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            observed = model.observe(batch)
            labelled, _ = world_model_terms(model, batch, observed, LossOptions())
        return labelled.observation

    assert terms(True).dtype == torch.float32
    torch.testing.assert_close(terms(True), terms(False), rtol=0.02, atol=0.0)


def test_a_row_of_images_moves_no_other_row():
    spec = make_spec(IMAGES[:1], states=False)
    model = make_model(spec=spec, **(TINY | {"image_shift": 0})).eval()
    batch = batch_of(spec, labelled=6)
    seen = []
    for _ in range(2):
        torch.manual_seed(0)
        seen.append(model.observe(batch).features)
        batch.obs["pixels"][2] = 255 - batch.obs["pixels"][2]
    for one, other in pairwise(seen):
        others = [0, 1, 3, 4, 5]
        torch.testing.assert_close(one[:, others], other[:, others])
        assert not torch.allclose(one[:, 2], other[:, 2])
