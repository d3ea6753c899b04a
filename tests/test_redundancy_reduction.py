from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import IMAGE_SHAPE, SMALL, add_images, make_batch, make_model, make_spec

from lawm.redundancy_reduction import REDUNDANCY, SCALE, correlation_loss
from lawm.world_model_loss import LossOptions, world_model_terms


def standardise(x):
    return (x - x.mean(0)) / x.std(0, unbiased=False)


def make(**config):
    spec = make_spec(("pixels",), states=False)
    sizes = SMALL | {"image_depth": 2, "observation_loss": "redundancy_reduction"}
    batch = add_images(make_batch(), "pixels")
    batch = dataclasses.replace(batch, obs={"pixels": batch.obs["pixels"]})
    return make_model(spec=spec, **(sizes | config)), batch


def observation_terms(model, batch):
    torch.manual_seed(0)
    return world_model_terms(model, batch, model.observe(batch), LossOptions())


def test_the_loss_is_least_where_each_dimension_tells_its_own():
    torch.manual_seed(0)
    e = standardise(torch.randn(4000, 6))
    assert correlation_loss(e, e) == pytest.approx(0.0, abs=0.02)
    assert correlation_loss(-e, e) == pytest.approx(4.0 * SCALE, rel=0.01)
    unrelated = standardise(torch.randn(4000, 6))
    assert correlation_loss(unrelated, e) == pytest.approx(SCALE, rel=0.1)
    same = e[:, :1].expand(-1, 6)  # one number six times: perfectly told, and redundant
    assert correlation_loss(same, same) == pytest.approx(SCALE * REDUNDANCY, rel=0.01)


def test_both_sources_see_one_number_for_the_batch():
    model, batch = make()
    labelled, free = observation_terms(model, batch)
    assert labelled.observation.item() == pytest.approx(free.observation.item())


def test_no_gradient_reaches_the_target():
    """The embedding is trained through the states and not by moving towards them."""
    model, batch = make()
    observed = model.observe(batch)
    decoder = model.observation_decoder.decoders[0]
    embed = observed.embed.detach().requires_grad_()
    features = observed.features.detach().requires_grad_()
    decoder.loss(features, batch.obs["pixels"].transpose(0, 1), embed).mean().backward()
    assert embed.grad is None
    assert features.grad.abs().sum() > 0


def test_the_probe_learns_and_teaches_nothing():
    """With it the loss and the world model's gradients are the same, bit for bit."""
    seen = []
    plain, batch = make()
    for image_probe in (False, True):
        model, _ = make(image_probe=image_probe)
        model.load_state_dict(plain.state_dict(), strict=False)
        labelled, _ = observation_terms(model, batch)
        labelled.observation.backward()
        probe = model.observation_decoder.decoders[0].probe
        own = {} if probe is None else dict(probe.named_parameters())
        assert all(p.grad.abs().sum() > 0 for p in own.values())
        gradients = {name: p.grad for name, p in model.named_parameters() if ".probe." not in name}
        seen.append((labelled.observation.detach(), gradients))
        shown = model.eval().observation_decoder.pictures(torch.zeros(2, 3, 20))
        assert list(shown) == (["pixels"] if image_probe else [])
        assert all(picture.shape == (2, 3, *IMAGE_SHAPE) for picture in shown.values())
    (loss, gradients), (probed_loss, probed_gradients) = seen
    assert loss.equal(probed_loss)
    for name, gradient in gradients.items():
        other = probed_gradients[name]
        assert (gradient is None and other is None) or gradient.equal(other), name
