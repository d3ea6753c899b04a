"""What labelled rows alone can teach weighs as if both sources could."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from model_factory import VARIANTS, loss_of, make_batch, make_world_model_module

from lawm.world_model_loss import LossCoefficients, LossOptions, term_factors


def known_rewards(batch, *rows):
    known = torch.zeros(batch.num_rows, dtype=torch.bool)
    known[list(rows)] = True
    return dataclasses.replace(batch, has_reward=known)


def test_rewards_weigh_alike_whether_one_source_or_both_know_them():
    batch, model = make_batch(labelled=3), make_world_model_module().model
    first, last = 0, batch.num_rows - 1
    even, uneven = LossOptions(), LossOptions(labelled_weight=3.0, action_free_weight=1.0)

    def factor(options, *rows):
        return term_factors(model, known_rewards(batch, *rows), options)["reward"]

    for options, labelled, free in ((even, 2.0, 2.0), (uneven, 4 / 3, 4.0)):
        assert factor(options, first) == pytest.approx(labelled)
        assert factor(options, last) == pytest.approx(free)
        assert factor(options, first, last) == 1.0
        assert factor(options) == 1.0


@pytest.mark.parametrize(
    ("variant", "options", "lacking"),
    [
        ("action", LossOptions(), []),
        ("action", LossOptions(self_labels=False), ["action"]),
        ("latent", LossOptions(), ["action"]),
        ("masked_action", LossOptions(), ["action", "latent_action_kl"]),
    ],
)
def test_what_action_free_rows_lack_weighs_as_if_they_had_it(variant, options, lacking):
    model, batch = make_world_model_module(variant).model, make_batch()
    factors = term_factors(model, batch, options)
    assert factors == {"reward": 2.0, "align_action": 2.0, "align_kl": 2.0} | dict.fromkeys(
        lacking, 2.0
    )
    apart = dataclasses.replace(options, share_weights=False)
    assert term_factors(model, batch, apart) == {}
    for labelled in (0, 6):
        assert term_factors(model, make_batch(labelled=labelled), options) == {}, "one source"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_shared_weights_enter_the_loss(variant):
    batch = make_batch()
    shared, logs = loss_of(make_world_model_module(variant), batch)
    apart, _ = loss_of(
        make_world_model_module(variant, options=LossOptions(share_weights=False)), batch
    )
    module = make_world_model_module(variant)
    share, _ = LossOptions().source_weights(batch)
    gained = share * sum(
        (factor - 1.0) * getattr(LossCoefficients(), name, logs["beta"]) * logs[f"labelled/{name}"]
        for name, factor in term_factors(module.model, batch, LossOptions()).items()
    )
    assert (shared - apart).item() == pytest.approx(gained.item(), rel=1e-3)


def test_every_row_weighs_the_same():
    """Repeating the action-free rows does what twice their weight does."""
    batch = make_batch(rows=4, labelled=2)
    module = make_world_model_module(options=LossOptions(action_free_weight=2.0))
    _, once = loss_of(module, batch)
    twice = dataclasses.replace(
        batch,
        obs={"state": torch.cat([batch.obs["state"], batch.obs["state"][2:]])},
        reward=torch.cat([batch.reward, batch.reward[2:]]),
        terminated=torch.cat([batch.terminated, batch.terminated[2:]]),
        has_reward=torch.cat([batch.has_reward, batch.has_reward[2:]]),
    )
    losses_once = torch.stack([loss_with(module, batch, seed) for seed in range(200)])
    module.options_now = LossOptions()
    losses_twice = torch.stack([loss_with(module, twice, seed) for seed in range(200)])
    spread = losses_once.std() / math.sqrt(200) + losses_twice.std() / math.sqrt(200)
    assert abs(losses_once.mean() - losses_twice.mean()) < 5 * spread + 1e-3 * once["loss"].abs()


def test_the_weights_of_both_sources_are_those_of_their_rows():
    batch = make_batch(rows=6, labelled=2)
    assert LossOptions().source_weights(batch) == pytest.approx((1 / 3, 2 / 3))
    assert LossOptions(labelled_weight=2.0).source_weights(batch) == pytest.approx((0.5, 0.5))
    assert LossOptions(action_free_weight=0.0).source_weights(batch) == (1.0, 0.0)
    assert LossOptions().source_weights(batch.action_free()) == (0.0, 1.0)
    nothing = LossOptions(labelled_weight=0.0, action_free_weight=0.0)
    assert nothing.source_weights(batch) == (0.0, 0.0)


@torch.no_grad()
def loss_with(module, batch, seed):
    torch.manual_seed(seed)
    return module.compute_loss(batch)[0]
