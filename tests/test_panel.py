"""The panel's verdict on models that were made good, made to collapse and made to leak."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from linear_system import simulate, spec_of, windows
from small_training import STEPS, train

from lawm.panel import PanelFigures, measure, verdict
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossCoefficients
from lawm.world_model_module import RateConfig, WorldModelModule

GOOD = PanelFigures(
    action_r2_inverse=0.8,
    action_r2_action=0.9,
    rate_inverse=(1.0, 0.5, 0.01),
    rate_action=(1.0, 0.4, 0.01),
    shuffled_ratio=4.0,
    error_ratio=1.1,
    open_loop_error=0.2,
    copy_last_frame_error=2.0,
)


@cache
def trained(transition_input, disturbance=0.0, beta=1.0, latent_action=4, **coefficients):
    """A model, and held-out trajectories of its system."""
    torch.manual_seed(0)
    data = simulate(40, STEPS, seed=1, disturbance=disturbance)
    held_out = simulate(16, STEPS, seed=2, disturbance=disturbance)
    config = WorldModelConfig(
        transition_input, deter=32, hidden=32, embed=32, stoch=8, latent_action=latent_action
    )
    module = WorldModelModule(
        spec_of(data),
        config,
        LossCoefficients(**coefficients),
        rate=RateConfig(beta=beta),
        learning_rate=2e-3,
        warmup_steps=20,
    )
    train(module, data)
    return module.eval().model, windows(held_out, np.arange(16), np.zeros(16, int), STEPS, 16)


def judged(model, batch):
    torch.manual_seed(0)
    return verdict(measure(model, batch, context=5).figures)


@pytest.mark.parametrize(
    "transition_input", ["action", pytest.param("latent", marks=pytest.mark.slow)]
)
def test_a_good_model_is_usable(transition_input):
    assert judged(*trained(transition_input)).name == "usable"


def test_a_model_whose_latent_action_costs_too_much_has_collapsed():
    assert judged(*trained("latent", beta=100.0)).name == "collapsed"


def test_a_model_that_hides_disturbances_in_a_free_latent_action_leaks():
    """Nothing holds u to the action: no price, no alignment, and noise that only u can tell."""
    model, batch = trained(
        "latent", disturbance=0.7, beta=1e-3, latent_action=12, align_action=0.0, align_kl=0.0
    )
    result = judged(model, batch)
    assert result.name == "leaking"
    assert "Raise the weight of their KL" in result.reason


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "usable"),
        ({"shuffled_ratio": 1.05}, "collapsed"),
        ({"rate_inverse": (0.01, 0.02, 0.0)}, "collapsed"),
        ({"error_ratio": 0.3}, "leaking"),
        ({"shuffled_ratio": 1.0, "error_ratio": 0.3}, "collapsed"),  # what is ignored cannot leak
        ({"action_r2_inverse": 0.1}, "not decoded"),
        ({"action_r2_inverse": float("nan")}, "not decoded"),
        ({"shuffled_ratio": float("nan")}, "not judged"),
        ({"shuffled_ratio": float("nan"), "rate_inverse": (0.01, 0.0, 0.0)}, "collapsed"),
    ],
)
def test_one_figure_decides(change, name):
    assert verdict(replace(GOOD, **change)).name == name


def test_what_to_do_depends_on_whether_known_actions_are_kept():
    unread = replace(GOOD, action_r2_inverse=0.2)
    assert "Give more labels" in verdict(replace(unread, action_r2_action=0.9)).reason
    lost = verdict(replace(unread, action_r2_action=0.57)).reason
    assert "Nor are known ones (0.57): lower the weights of the alignment" in lost


def test_figures_of_a_model_that_is_given_the_truth():
    """Rates are those of the latents; shuffling over identical rows changes nothing."""
    model, batch = trained("action")
    torch.manual_seed(0)
    panel = measure(model, batch, context=5)
    figures = panel.figures
    assert len(figures.rate_inverse) == 4
    assert figures.active_parts == sum(nats > 0.05 for nats in figures.rate_inverse)
    assert figures.open_loop_error == pytest.approx(panel.errors["inverse"].mean().item())
    assert figures.shuffled_ratio == pytest.approx(
        (panel.errors["shuffled"].mean() / panel.errors["inverse"].mean()).item()
    )
    twins = windows(simulate(1, STEPS, seed=3), np.zeros(4, int), np.zeros(4, int), STEPS, 4)
    same = measure(model, twins, context=5).figures
    assert same.shuffled_ratio == pytest.approx(1.0, abs=0.2)
    single = windows(simulate(1, STEPS, seed=3), np.zeros(1, int), np.zeros(1, int), STEPS, 1)
    assert judged(model, single).name == "not judged"
