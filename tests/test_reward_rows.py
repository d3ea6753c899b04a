"""Rows that have no place for a reward, in the loss of stage 1."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import VARIANTS, loss_of, make_batch, make_world_model_module


@pytest.mark.parametrize(("labelled", "rewarded"), [(3, 3), (6, 2), (3, 0), (0, 0)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_without_a_place_for_rewards_are_rows_without_rewards(variant, labelled, rewarded):
    cut = make_batch(rows=6, labelled=labelled)  # of pseudo-labels more rows have actions
    cut = dataclasses.replace(
        cut, reward=cut.reward[:rewarded], has_reward=cut.has_reward[:rewarded]
    )
    nothing = torch.zeros(6 - rewarded, cut.reward.shape[1])
    batch = dataclasses.replace(
        cut,
        reward=torch.cat([cut.reward, nothing]),
        has_reward=torch.cat([cut.has_reward, nothing[:, 0] > 0]),
    )
    module = make_world_model_module(variant).eval()  # no dropout, whose masks follow the shapes

    def graded(batch):
        module.zero_grad()
        loss, logs = loss_of(module, batch)
        loss.backward()
        gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        return logs, gradients

    for one, other in zip(graded(batch), graded(cut), strict=True):
        assert one.keys() == other.keys()
        torch.testing.assert_close(list(one.values()), list(other.values()))
