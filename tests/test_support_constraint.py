import math

import pytest
import torch

from lawm.errors import LawmError
from lawm.latents import CategoricalLatent, GaussianLatent
from lawm.support_constraint import make_constraint

GAUSSIAN = GaussianLatent(4)


def standardised(kind, eps, v):
    prior = torch.randn(v.shape[0], 8)
    mean, std = GAUSSIAN.mean_std(prior)
    return (make_constraint(kind, GAUSSIAN, eps).apply(prior, v, True) - mean) / std


def test_box_reaches_its_walls_and_not_beyond():
    far = standardised("box", 0.5, torch.full((3, 4), 20.0))
    torch.testing.assert_close(far, torch.full((3, 4), 0.5))
    assert standardised("box", 0.5, 5 * torch.randn(1000, 4)).abs().max() <= 0.5 + 1e-5


def test_ball_and_sphere_have_the_radius_of_a_gaussians_mass():
    v = 3 * torch.randn(1000, 4)
    radius = 0.5 * math.sqrt(4)
    assert standardised("ball", 0.5, v).norm(dim=-1).max() <= radius + 1e-4
    torch.testing.assert_close(
        standardised("sphere", 0.5, v).norm(dim=-1), torch.full((1000,), radius), atol=1e-3, rtol=0
    )


def test_box_leaves_the_policys_zero_at_the_prior_mean():
    torch.testing.assert_close(standardised("box", 2.0, torch.zeros(3, 4)), torch.zeros(3, 4))


def test_none_ignores_the_prior():
    v = torch.randn(3, 4)
    assert make_constraint("none", GAUSSIAN, 1.0).apply(torch.randn(3, 8), v, True).equal(v)


def test_categorical_box_bounds_the_log_probability_ratio():
    latent = CategoricalLatent(2, 3)
    constraint = make_constraint("box", latent, 0.5)
    prior, v = torch.zeros(20_000, 6), torch.zeros(20_000, 6)
    v[:, 0] = 20.0
    torch.manual_seed(0)
    share = constraint.apply(prior, v, True)[:, 0].mean()
    # logits (0.5, 0, 0) above a uniform prior, then one per cent of uniform
    expected = 0.99 * math.exp(0.5) / (math.exp(0.5) + 2) + 0.01 / 3
    assert share.item() == pytest.approx(expected, abs=0.02)


def test_log_det_of_the_box_is_that_of_tanh():
    v = torch.randn(5, 4)
    expected = torch.log(1 - torch.tanh(v) ** 2).sum(dim=-1)
    torch.testing.assert_close(make_constraint("box", GAUSSIAN, 1.0).log_det(v), expected)


@pytest.mark.parametrize("kind", ["box", "ball", "sphere"])
def test_half_the_squared_distance_is_the_priors_log_density_up_to_a_constant(kind):
    prior, v = torch.randn(1, 8).expand(50, 8), 2 * torch.randn(50, 4)
    constraint = make_constraint(kind, GAUSSIAN, 1.5)
    mean, std = GAUSSIAN.mean_std(prior)
    log_density = torch.distributions.Normal(mean, std).log_prob(constraint.apply(prior, v, True))
    constant = log_density.sum(dim=-1) + constraint.half_square(v)
    torch.testing.assert_close(constant, constant[:1].expand(50), atol=1e-3, rtol=1e-4)


def test_the_distance_of_a_categorical_is_the_divergence_for_small_ratios():
    latent, v = CategoricalLatent(2, 3), 0.2 * torch.randn(20, 6)
    ratios = (0.5 * torch.tanh(v)).unflatten(-1, (2, 3))
    policy = torch.distributions.Categorical(logits=ratios)
    prior = torch.distributions.Categorical(logits=torch.zeros(20, 2, 3))
    expected = torch.distributions.kl_divergence(policy, prior).sum(dim=-1)
    found = make_constraint("box", latent, 0.5).half_square(v)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=1e-5)


def test_epsilon_must_be_positive():
    with pytest.raises(LawmError, match=r"policy.constraint.epsilon is 0.*above 0"):
        make_constraint("box", GAUSSIAN, 0)


def test_geometries_without_a_meaning_are_refused():
    with pytest.raises(LawmError, match="kind is 'sphere', but the latent action is categorical"):
        make_constraint("sphere", CategoricalLatent(2, 3), 1.0)
