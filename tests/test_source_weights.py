"""What labelled rows alone can teach weighs as if both sources could."""

from __future__ import annotations

import dataclasses

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
