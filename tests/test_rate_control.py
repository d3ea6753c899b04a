"""The latent action's rate: beta follows a target."""

from __future__ import annotations

import pytest
import torch
from model_factory import make_batch, make_world_model_module

from lawm.errors import LawmError
from lawm.rate_control import TargetRate
from lawm.world_model_module import RateConfig


def test_target_rate_raises_beta_above_the_target_and_lowers_it_below():
    control = TargetRate(target=4.0, initial_beta=1.0)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    for rate, direction in ((8.0, 1), (2.0, -1)):
        before = control.beta().item()
        optimizer.zero_grad()
        control.dual_loss(torch.tensor(rate)).backward()
        optimizer.step()
        assert (control.beta().item() - before) * direction > 0


def test_target_rate_stays_within_its_bounds():
    control = TargetRate(target=1.0, initial_beta=1.0, max_beta=2.0)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        control.dual_loss(torch.tensor(10.0)).backward()
        optimizer.step()
    assert control.beta() == pytest.approx(2.0)


def test_a_dual_variable_cannot_start_at_zero():
    with pytest.raises(LawmError, match=r"rate\.beta is 0, and with .*control target .* above 0"):
        RateConfig("target", beta=0.0).build()
    assert RateConfig("fixed", beta=0.0).build().beta() == 0.0


def test_the_rate_reaches_its_target_in_training():
    rate = RateConfig("target", beta=0.1, target=1.0)
    module = make_world_model_module(rate=rate, dual_learning_rate=0.03, warmup_steps=1)
    optimizer = module.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups[:2]:
        group["lr"] = 3e-3
    batch = make_batch(rows=8, labelled=4)
    rates = []
    for _ in range(500):
        loss, logs = module.compute_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append((logs["labelled/latent_action_kl"] + logs["action_free/latent_action_kl"]) / 2)
    assert torch.stack(rates[-100:]).mean().item() == pytest.approx(1.0, abs=0.35)
