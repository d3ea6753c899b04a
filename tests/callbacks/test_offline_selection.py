"""A policy is chosen by what the world model makes of it, with no environment in sight."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import torch
from evaluated_training import PolicyModule, fit
from model_factory import make_model, make_spec

from lawm.callbacks.offline_selection import OfflineSelectionCallback
from lawm.imagination import rollout_reward
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState

REWARDS = [1.0, 3.0, 2.0, 3.0]  # of the four looks


class ToldModule(PolicyModule):
    """Its imagination says what it is told to; it draws random numbers, as the model's does."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.asked = []

    def rollout_reward(self, start, num_steps):
        self.asked.append((start.h, torch.rand(1).item()))
        return torch.full((len(start.h),), REWARDS[len(self.asked) - 1])


class Weights(pl.Callback):
    """Those after each step."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen[trainer.global_step] = pl_module.policy[0].weight.detach().clone()


def starts(num):
    return ModelState(torch.arange(2.0 * num).reshape(num, 2), torch.zeros(num, 1))


def selection(path=None):
    return OfflineSelectionCallback(starts, 2, path, num_starts=4, num_steps=5)


def test_the_earliest_of_the_highest_is_kept(tmp_path):
    path = tmp_path / "selected.ckpt"
    callback, weights, module = selection(path), Weights(), ToldModule()
    fit(callback, 7, module=module)
    fit(weights, 7, module=ToldModule())
    assert callback.points == [(2, 1.0), (4, 3.0), (6, 2.0), (7, 3.0)]
    assert callback.selected == (4, 3.0)
    saved = torch.load(path, weights_only=True)
    assert saved["global_step"] == 4
    assert torch.equal(saved["state_dict"]["policy.0.weight"], weights.seen[4])
    assert not torch.equal(weights.seen[4], weights.seen[7])
    # Looking has not changed training, whose dropout draws random numbers
    assert torch.equal(module.policy[0].weight, weights.seen[7])
    given, drawn = zip(*module.asked, strict=True)
    assert all(torch.equal(start, given[0]) for start in given)
    assert len(set(drawn)) == 1, "policies are compared with the same random numbers"


def test_what_is_not_finite_is_never_selected_for_long():
    callback = selection()
    callback.points = [(2, math.nan), (4, 1.0), (6, math.inf), (8, 0.5)]
    assert callback.selected == (4, 1.0)


def test_a_last_step_that_was_looked_at_is_looked_at_once():
    callback = selection()
    fit(callback, 4, module=ToldModule())
    assert callback.points == [(2, 1.0), (4, 3.0)]


def test_a_resumed_run_knows_what_was_selected_before(tmp_path):
    before = ToldModule()
    trainer, _ = fit(selection(), 4, module=before)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    module, callback = ToldModule(), selection(tmp_path / "selected.ckpt")
    module.asked = before.asked
    fit(callback, 7, ckpt_path=tmp_path / "last.ckpt", module=module)
    assert callback.points == [(2, 1.0), (4, 3.0), (6, 2.0), (7, 3.0)]
    assert callback.selected == (4, 3.0)
    assert not (tmp_path / "selected.ckpt").exists(), "none was better than the one before"


def make_policy():
    torch.manual_seed(0)
    spec = make_spec()
    model = make_model(spec=spec)
    torch.nn.init.normal_(model.reward_head.output.weight, std=10.0)
    module = LatentPolicyModule(model, spec, hidden=16, horizon=5, prior_weight=0.0, entropy=0.0)
    size = (model.rssm.deter, model.rssm.latent.size)
    return module, ModelState(*(torch.randn(32, number) for number in size))


def test_imagined_reward_is_that_of_the_heads():
    """With a reward of one everywhere and a known chance to live on, it is a geometric series."""
    module, states = make_policy()
    model = module.world_model
    for head, bias in ((model.reward_head, 1.0), (model.continue_head, 0.0)):
        torch.nn.init.zeros_(head.output.weight)
        torch.nn.init.constant_(head.output.bias, bias)
    reward = rollout_reward(model, module.policy, module.constraint, states, 4)
    torch.testing.assert_close(reward, torch.full((32,), (1 + 0.5 + 0.25 + 0.125) / 4))
    assert not reward.requires_grad


def test_a_policy_that_was_trained_for_reward_is_preferred():
    module, states = make_policy()
    torch.nn.init.zeros_(module.world_model.continue_head.output.weight)

    def imagined_reward():
        torch.manual_seed(3)
        return module.rollout_reward(states, 5).mean()

    optimizer = torch.optim.Adam(module.policy.parameters(), lr=1e-2)
    before = imagined_reward()
    for _ in range(60):
        loss, _ = module.compute_loss(states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert imagined_reward() > before + 0.1
