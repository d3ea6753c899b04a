import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from lawm.latents import CategoricalLatent, GaussianLatent

LATENTS = [GaussianLatent(3), CategoricalLatent(3, 4)]
ids = ["gaussian", "categorical"]


def test_gaussian_kl_is_the_closed_form():
    latent = GaussianLatent(3)
    p, q = torch.randn(2, 5, 6).unbind()
    expected = kl_divergence(Normal(*latent.mean_std(p)), Normal(*latent.mean_std(q)))
    torch.testing.assert_close(latent.kl(p, q), expected)


def test_categorical_kl_is_the_closed_form():
    latent = CategoricalLatent(3, 4)
    p, q = torch.randn(2, 5, 12).unbind()
    expected = kl_divergence(
        Categorical(logits=latent.log_probs(p)), Categorical(logits=latent.log_probs(q))
    )
    torch.testing.assert_close(latent.kl(p, q), expected)


@pytest.mark.parametrize("latent", LATENTS, ids=ids)
def test_samples_have_the_mean_of_the_distribution(latent):
    torch.manual_seed(0)
    params = torch.randn(latent.num_params)
    many = latent.sample(params.expand(20_000, -1), latent.noise(params, 20_000)).mean(dim=0)
    if isinstance(latent, GaussianLatent):
        expected = latent.mean_std(params)[0]
    else:
        expected = latent.log_probs(params).exp().flatten()
    torch.testing.assert_close(many, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("latent", LATENTS, ids=ids)
def test_gradients_reach_the_parameters_through_sample_and_mode(latent):
    params = torch.randn(5, latent.num_params, requires_grad=True)
    weights = torch.randn(latent.size)
    for value in (latent.sample(params, latent.noise(params, 5)), latent.mode(params)):
        (grad,) = torch.autograd.grad((value * weights).sum(), params)
        assert grad.abs().sum() > 0


@pytest.mark.parametrize("latent", LATENTS, ids=ids)
def test_without_noise_a_sample_is_the_mode(latent):
    params = torch.randn(5, latent.num_params)
    no_noise = torch.zeros(5, latent.size)
    torch.testing.assert_close(latent.sample(params, no_noise), latent.mode(params))


def test_categorical_samples_are_one_hot():
    latent = CategoricalLatent(3, 4)
    params = torch.randn(50, 12)
    sample = latent.sample(params, latent.noise(params, 50)).view(50, 3, 4)
    torch.testing.assert_close(sample.sum(dim=-1), torch.ones(50, 3))
    torch.testing.assert_close(sample.max(dim=-1).values, torch.ones(50, 3))


def test_uniform_part_bounds_the_log_probabilities():
    latent = CategoricalLatent(1, 4)
    log_probs = latent.log_probs(torch.tensor([100.0, -100.0, 0.0, 0.0]))
    assert log_probs.min() >= torch.tensor(0.01 / 4).log() - 1e-5
