"""What inference of actions reads of two observations."""

from __future__ import annotations

import pytest
import torch
from model_factory import OBS_DIM, add_images, make_batch, make_model, make_spec

from lawm.observation_transitions import ObservationTransitions


def test_a_state_is_read_standardised_and_its_change_in_usual_changes():
    spec = make_spec()  # mean 0, deviation 1, usual change 0.5
    transitions = ObservationTransitions(spec, embed=7)
    obs = torch.randn(3, 6, OBS_DIM)
    read = transitions({"state": obs}, {}, dim=1)
    assert read.shape == (3, 5, transitions.size) == (3, 5, 2 * OBS_DIM)
    torch.testing.assert_close(read[..., :OBS_DIM], obs[:, :-1])
    torch.testing.assert_close(read[..., OBS_DIM:], 2.0 * (obs[:, 1:] - obs[:, :-1]))


@pytest.mark.parametrize("dim", [0, 1])
def test_an_image_is_read_as_both_embeddings(dim):
    transitions = ObservationTransitions(make_spec(("camera",)), embed=7)
    obs, embed = torch.randn(6, 6, OBS_DIM), torch.randn(6, 6, 7)
    read = transitions({"state": obs}, {"camera": embed}, dim)
    assert read.shape[-1] == transitions.size == 2 * OBS_DIM + 14
    steps = torch.arange(5)
    torch.testing.assert_close(read[..., -14:-7], embed.index_select(dim, steps))
    torch.testing.assert_close(read[..., -7:], embed.index_select(dim, steps + 1))


def test_a_model_of_images_alone_infers_from_them():
    model = make_model(spec=make_spec(("camera",), states=False))
    batch = add_images(make_batch(), "camera")
    assert model.transitions.size == 2 * 16
    assert model.observe(batch).inverse_posterior.shape[:2] == (7, 6)
