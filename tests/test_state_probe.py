from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import make_batch, make_model

from lawm.panel import measure
from lawm.state_probe import RIDGE, linear_probe


def test_what_the_features_hold_is_read_and_the_rest_is_not():
    torch.manual_seed(0)
    features = torch.randn(4000, 10) * torch.logspace(-3, 3, 10)  # of very different sizes
    state = features / torch.logspace(-3, 3, 10) @ torch.randn(10, 3) * 50.0 + 7.0
    group = torch.arange(4000) // 500

    def probe(x, y):
        return linear_probe(x, y, group)

    shrunk = RIDGE / (1.0 + RIDGE)  # of independent features; all that a known state lacks
    assert probe(features, state) == pytest.approx(1.0 - shrunk**2, abs=1e-3)
    assert probe(features, torch.randn(4000, 3)) == pytest.approx(0.0, abs=0.02)
    half = torch.cat([state, torch.randn(4000, 3)], dim=1)
    assert probe(features, half) == pytest.approx(0.5, abs=0.02)
    still = torch.cat([state, torch.full((4000, 2), 3.0)], dim=1)
    # what stands still is left out
    assert probe(features, still) == pytest.approx(probe(features, state))


def test_a_group_that_hardly_moves_is_measured_against_all():
    """Alone it would give minus thousands: its own variance is next to nothing."""
    torch.manual_seed(0)
    features = torch.randn(3000, 10)
    features[:1000] *= 1e-3
    state = features @ torch.randn(10, 3) + 0.1 * torch.randn(3000, 3)
    group = torch.arange(3000) // 1000
    assert linear_probe(features, state, group) > 0.97


def test_what_only_tells_the_groups_apart_is_no_help():
    torch.manual_seed(0)
    group = torch.arange(4000) // 500
    one_hot = torch.nn.functional.one_hot(group).double()
    state = one_hot @ torch.randn(8, 3).double() + 0.1 * torch.randn(4000, 3)
    assert linear_probe(one_hot, state, group) < 0.1


def test_the_panel_probes_states_beside_the_model():
    """Fitted on some episodes, measured on others: numbers of an episode are no help."""
    model = make_model().eval()
    batch = make_batch(rows=8, labelled=8)
    source = torch.tensor([[0, 0], [0, 9], [0, 18], [1, 0], [2, 0], [2, 9], [3, 0], [3, 9]])
    number = source[:, :1, None].expand(-1, 8, 1).float()
    probe = {"seen": batch.obs["state"][..., :1], "number": number}
    batch = dataclasses.replace(batch, probe=probe, source=source)
    torch.manual_seed(0)
    figures = measure(model, batch, context=3).figures
    assert figures.probe_r2.keys() == {"seen", "number"}
    assert figures.probe_r2["number"] < 0.1
    assert figures.as_dict()["probe_r2"] == figures.probe_r2
    assert measure(model, make_batch(rows=4, labelled=4), context=3).figures.probe_r2 == {}
