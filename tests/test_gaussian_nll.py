"""The likelihood of a Gaussian, on the kernels and without, against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from lawm.fused.kernels import enable_kernels
from lawm.gaussian_nll import gaussian_nll

pytestmark = pytest.mark.usefixtures("kernels")


def made_up(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    mean = torch.randn(*shape, generator=generator).requires_grad_()
    target = torch.rand(*shape, generator=generator) * 2 - 1
    std = (0.1 + torch.rand(shape[-1], generator=generator)).requires_grad_()
    return mean, target, std, torch.randn(shape[:-1], generator=generator)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("squashed", [True, False])
@pytest.mark.parametrize(
    "shape", [(5,), (1, 1), (70, 3), (4, 40, 24), (33, 9, 17), (2, 3, 4, 6), (0, 4, 3), (3, 4, 0)]
)
def test_value_and_gradients(shape, squashed, enabled):
    enable_kernels(enabled)
    mean, target, std, d_out = made_up(*shape)
    out = gaussian_nll(mean, target, std, squashed=squashed)
    middle = mean.double().tanh() if squashed else mean.double()
    expected = -Normal(middle, std.double()).log_prob(target.double()).sum(dim=-1)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(out, (mean, std), d_out)
    theirs = torch.autograd.grad(expected, (mean, std), d_out.double())
    for gradient, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=2e-4)


def test_a_target_that_is_read_with_strides():
    mean, _, std, _ = made_up(6, 4, 8)
    wide = torch.randn(4, 6, 16)
    target = wide.transpose(0, 1)[..., :8]
    expected = gaussian_nll(mean, target.contiguous(), std)
    assert gaussian_nll(mean, target, std).equal(expected)
    assert gaussian_nll(mean, wide.transpose(0, 1)[..., ::2], std).isfinite().all()


def test_a_target_that_wants_a_gradient_gets_it():
    mean, target, std, d_out = made_up(6, 4, 8)
    target.requires_grad_()
    of_mean, of_target = torch.autograd.grad(gaussian_nll(mean, target, std), (mean, target), d_out)
    torch.testing.assert_close(of_target, -of_mean)
    with torch.no_grad():
        assert gaussian_nll(mean, target, std).shape == (6, 4)


def test_the_gradient_does_not_depend_on_threads():
    mean, target, std, d_out = made_up(33, 64, 24)
    gradients, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            gradients.append(torch.autograd.grad(gaussian_nll(mean, target, std), std, d_out)[0])
    finally:
        torch.set_num_threads(before)
    assert gradients[0].equal(gradients[1])
    assert gradients[0].equal(gradients[2])


def test_a_nan_stays_a_nan():
    mean, target, std, _ = made_up(5, 4, 3)
    target[2, 1, 0] = float("nan")
    out = gaussian_nll(mean, target, std)
    assert out[2, 1].isnan()
    assert out.isnan().sum() == 1
