"""Each fused kernel by itself against plain PyTorch."""

from __future__ import annotations

import ctypes

import pytest
import torch
import torch.nn.functional as F
from model_factory import OBS_DIM, SMALL, make_batch, make_spec

from lawm.fused import (
    build,
    dropout,
    gaussian_kl,
    gaussian_nll,
    imagine_loop,
    layer_stack,
    norm_silu,
    observe_loop,
)
from lawm.fused.dropout import Dropout, KeptUnits
from lawm.fused.kernels import enable_kernels, kernels_usable
from lawm.fused.plans import Plans
from lawm.fused.softplus import softplus
from lawm.latents import GaussianLatent
from lawm.networks import MLP
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

pytestmark = pytest.mark.usefixtures("kernels")


class Parameters:
    """Of a module."""


def one_layer(x, weight, bias, scale, shift):
    """Of plain tensors."""
    linear, norm = Parameters(), Parameters()
    linear.weight, linear.bias, linear.out_features = weight, bias, len(weight)
    norm.weight, norm.bias, norm.eps = scale, shift, 1e-3
    return layer_stack.layer_stack(x, [(linear, norm, None)], None, plans=Plans())


@pytest.mark.parametrize("cols", [1, 16, 63, 64, 100, 192])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_normed_linear_layer(rows, cols):
    generator = torch.Generator().manual_seed(rows * cols)
    x = torch.randn(rows, 5, generator=generator, requires_grad=True)
    weight = (3 * torch.randn(cols, 5, generator=generator)).requires_grad_()
    bias, scale, shift = torch.randn(3, cols, generator=generator).unbind()
    leaves = [x, weight, *(p.clone().requires_grad_() for p in (bias, scale, shift))]
    out = one_layer(*leaves)
    expected = F.silu(F.layer_norm(F.linear(*leaves[:3]), (cols,), leaves[3], leaves[4], 1e-3))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    d_out = torch.randn(rows, cols, generator=generator)
    gradients = torch.autograd.grad(out, leaves, d_out)
    reference = torch.autograd.grad(expected, leaves, d_out)
    for ours, theirs in zip(gradients, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * (1 + rows) ** 0.5)


def test_softplus_over_its_whole_range():
    x = torch.cat([torch.linspace(-100, 100, 4001), torch.tensor([-1e4, 1e4, 0.0])])
    x = x.double().requires_grad_()
    expected = torch.logaddexp(x, torch.zeros_like(x))
    (slope,) = torch.autograd.grad(expected.sum(), x)
    single = x.detach().float().requires_grad_()
    out = softplus(single)
    torch.testing.assert_close(out.double(), expected, rtol=3e-6, atol=1e-30)
    (gradient,) = torch.autograd.grad(out.sum(), single)
    torch.testing.assert_close(gradient.double(), slope, rtol=3e-6, atol=1e-30)


@pytest.mark.parametrize("size", [1, 8, 24])
def test_gaussian_kl(size):
    generator = torch.Generator().manual_seed(size)
    latent = GaussianLatent(size)
    p, q = (3 * torch.randn(2, 50, 2 * size, generator=generator)).unbind()
    p, q = p.requires_grad_(), q.requires_grad_()
    total, expected = latent.total_kl(p, q), latent.kl(p, q).sum(dim=-1)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    d_out = torch.randn(50, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad(total, (p, q), d_out),
        torch.autograd.grad(expected, (p, q), d_out),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    like = torch.empty(1001, 300)
    mask = KeptUnits(p).mask(like)
    values = mask.unique().tolist()
    assert values == pytest.approx([0.0, 1.0 / (1.0 - p)], rel=1e-4)
    assert (mask == 0).float().mean().item() == pytest.approx(p, abs=4e-3)
    assert (mask == 0).float().mean(dim=0).amax().item() < p + 0.08  # no unit is favoured
    dropped = torch.stack([mask, KeptUnits(p).mask(like)]) == 0
    neighbours = dropped[..., 1:] & dropped[..., :-1]  # in a row, and of two seeds: independent
    assert neighbours.float().mean().item() == pytest.approx(p * p, abs=4e-3)
    assert dropped.all(dim=0).float().mean().item() == pytest.approx(p * p, abs=4e-3)
    assert Dropout(p).eval()(mask) is mask


@pytest.mark.parametrize(
    "shape", [(5, 7, 33), (1, 1, 1), (40, 3), (6,), (2, 3, 4, 5), (3, 0), (0, 2, 4)]
)
def test_dropout_is_that_of_its_mask(shape):
    """Forward and backward, of what is read with strides."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(*shape[:-1], 2 * shape[-1], generator=generator, requires_grad=True)
    x, d_out = wide[..., : shape[-1]], torch.randn(*shape, generator=generator)
    results = []
    for enabled in (True, False):
        enable_kernels(enabled)
        torch.manual_seed(3)
        out = Dropout(0.4)(x)
        results.append((out, *torch.autograd.grad(out, wide, d_out)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (results[0][0] == 0).any() or x.numel() <= 1


def test_dropout_has_a_second_derivative():
    x = torch.randn(4, 5, 6, requires_grad=True)
    out = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    torch.testing.assert_close(second, 2.0 * (out / x).square())  # of the squares of its factors


def test_dropout_of_nearly_everything():
    torch.manual_seed(0)
    assert Dropout(1.0 - 1e-9)(torch.ones(4, 100)).sum() == 0.0
    assert Dropout(1.0 - 1e-12)(torch.ones(4, 100)).sum() == 0.0  # rounds to 1
    assert Dropout(1.0)(torch.ones(4, 100)).sum() == 0.0
    assert Dropout(0.5)(torch.ones(())).item() in (0.0, 2.0)


def test_layers_with_dropout_are_those_of_pytorch():
    network = MLP(5, 40, 3, num_layers=3, dropout=0.3)
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    leaves, results = [x, *network.parameters()], []
    for enabled in (True, False):
        enable_kernels(enabled)
        torch.manual_seed(3)
        out = network(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    enable_kernels(True)
    assert torch.equal(network.eval()(x), network(x))
    assert not torch.equal(network.train()(x), network(x))


def test_a_nan_stays_a_nan():
    """A run that diverges must show it."""
    x = torch.randn(4, 3)
    x[2, 1] = float("nan")
    out = one_layer(x, torch.randn(40, 3), *torch.ones(3, 40))
    assert out[2].isnan().all()
    assert not out[[0, 1, 3]].isnan().any()
    assert softplus(torch.tensor([float("nan"), 1.0])).isnan().tolist() == [True, False]
    module = WorldModelModule(make_spec(), WorldModelConfig(**SMALL))
    batch = make_batch()
    batch.obs["state"][0, 3, OBS_DIM - 1] = float("nan")
    assert module.compute_loss(batch)[0].isnan()


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("mlp", layer_stack.CMlpCall),
        ("observe", observe_loop.CObserve),
        ("imagine", imagine_loop.CImagine),
        ("gaussian_kl", gaussian_kl.CGaussianKl),
        ("gaussian_nll", gaussian_nll.CGaussianNll),
        ("norm_silu", norm_silu.CNormSilu),
        ("dropout", dropout.CDropped),
    ],
)
def test_structures_are_as_large_as_in_c(name, structure):
    assert getattr(build.loaded_kernels(), f"lawm_{name}_size")() == ctypes.sizeof(structure)


def test_other_types_are_left_to_pytorch():
    weight = torch.zeros(4, 4)
    assert kernels_usable(weight)
    assert not kernels_usable(weight.double())
    assert not kernels_usable(weight.to("meta"))
    enable_kernels(False)
    assert not kernels_usable(weight)
