"""Of the frames of an update a share is reconstructed: a cheaper estimate of the same loss."""

from __future__ import annotations

import pytest
import torch
from model_factory import IMAGE_SHAPE, SMALL, add_images, make_batch, make_spec

from lawm.image_observations import ImageDecoder
from lawm.spec import ObservationSpec
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

STEPS, ROWS, FEATURES = 8, 3, 7


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    images = torch.randint(256, (STEPS, ROWS, *IMAGE_SHAPE), dtype=torch.uint8)
    return torch.randn(STEPS, ROWS, FEATURES), images, torch.zeros(STEPS, ROWS, 5)


def make_decoder(share):
    torch.manual_seed(1)
    spec = ObservationSpec(IMAGE_SHAPE, "image")
    return ImageDecoder("pixels", spec, FEATURES, 2, 1.0, share)


def test_decoded_steps_are_the_same_in_all_rows_and_count_for_the_others(inputs):
    whole, decoder = make_decoder(1.0).loss(*inputs), make_decoder(0.25)
    losses = decoder.loss(*inputs)
    assert losses.shape == (STEPS, ROWS)
    decoded = losses[:, 0] != 0.0
    assert int(decoded.sum()) == 2
    torch.testing.assert_close(losses[decoded], whole[decoded] * 4.0)
    assert not losses[~decoded].any()


def test_the_mean_over_draws_is_the_loss(inputs):
    """An unbiased estimate: every step is drawn as often as the others."""
    whole, decoder = make_decoder(1.0).loss(*inputs), make_decoder(0.25)
    with torch.no_grad():
        mean = torch.stack([decoder.loss(*inputs) for _ in range(400)]).mean(dim=0)
    torch.testing.assert_close(mean, whole, rtol=0.45, atol=0.0)  # five deviations of a step's mean
    torch.testing.assert_close(mean.mean(), whole.mean(), rtol=0.01, atol=0.0)


def test_outside_of_training_all_is_decoded(inputs):
    whole = make_decoder(1.0).loss(*inputs)
    torch.testing.assert_close(make_decoder(0.25).eval().loss(*inputs), whole)
    torch.testing.assert_close(make_decoder(0.99).loss(*inputs), whole)  # rounds to all
    assert int(make_decoder(1e-9).loss(*inputs).count_nonzero()) == ROWS  # one step at least


def test_fewer_frames_go_through_the_decoder_of_a_world_model():
    spec = make_spec(("pixels",), states=False)
    batch = add_images(make_batch(), "pixels")
    frames = {}
    for share in (1.0, 0.25):
        torch.manual_seed(0)
        config = WorldModelConfig(**SMALL, image_depth=2, image_decoded_share=share)
        module = WorldModelModule(spec, config)
        decoder = module.model.observation_decoder.decoders[0]
        decoder.layers.register_forward_pre_hook(
            lambda _, given, share=share: frames.__setitem__(share, len(given[0]))
        )
        loss, _ = module.compute_loss(batch)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    steps, rows = batch.reward.shape[1] + 1, batch.num_rows
    assert frames == {1.0: steps * rows, 0.25: round(steps / 4) * rows}
