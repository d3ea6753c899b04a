"""The cost of leaving the prior: it falls where the policy stays near, and has an upper bound."""

import math

import pytest
import torch

from lawm.prior_weight import LEAST, RATE, PriorWeight


def after(weight: PriorWeight, distance: float, updates: int) -> float:
    for _ in range(updates):
        weight.update(torch.tensor(distance))
    return weight.current().item()


def test_it_falls_while_the_policy_is_near_and_comes_back_when_it_is_far():
    weight = PriorWeight(0.15, distance=0.3)
    near = after(weight, 0.15, updates=20)
    assert near == pytest.approx(0.15 * math.exp(-20 * RATE * 0.5))
    assert after(weight, 0.45, updates=10) == pytest.approx(near * math.exp(10 * RATE * 0.5))
    assert after(weight, 0.45, updates=100) == pytest.approx(0.15)


def test_it_settles_where_the_distance_is_what_it_may_be():
    """A policy whose distance is what its weight lets it have: d = 0.02 / w."""
    weight, distance = PriorWeight(0.15, distance=0.3), 0.0
    for _ in range(500):
        weight.update(torch.tensor(distance))
        distance = 0.02 / weight.current().item()
    assert distance == pytest.approx(0.3, rel=0.01)


def test_bounds():
    weight = PriorWeight(0.15, distance=0.3)
    assert after(weight, 0.0, updates=1000) == pytest.approx(0.15 * LEAST)
    assert after(weight, 1e9, updates=1000) == pytest.approx(0.15)


def test_no_distance_leaves_the_weight_alone():
    assert after(PriorWeight(0.15, distance=0.0), 0.01, updates=50) == pytest.approx(0.15)
    assert after(PriorWeight(0.0, distance=0.3), 0.01, updates=50) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_distance_that_is_not_finite_does_not_stay(bad):
    weight = PriorWeight(0.15, distance=0.3)
    before = after(weight, 0.15, updates=5)
    assert after(weight, bad, updates=1) == before
