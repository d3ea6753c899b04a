"""The fused kernels and loops against plain PyTorch: same losses, same gradients, nothing kept."""

from __future__ import annotations

import ctypes
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from model_factory import OBS_DIM, SMALL, make_batch, make_model, make_spec

from lawm.fused import build, gaussian_kl, imagine_scan, layer_stack, observe_scan
from lawm.fused.dropout import Dropout, dropout_mask
from lawm.fused.kernels import enable_kernels, kernels_usable
from lawm.fused.softplus import softplus
from lawm.latents import GaussianLatent
from lawm.policy_module import ConstraintConfig, LatentPolicyModule
from lawm.rssm import ModelState
from lawm.world_model import WorldModelConfig
from lawm.world_model_module import WorldModelModule

pytestmark = pytest.mark.skipif(
    build.find_kernels() is None, reason="no C compiler on this machine builds the kernels"
)


@pytest.fixture(autouse=True)
def kernels():
    enable_kernels(True)
    yield
    enable_kernels(True)


def both_ways(module, compute_loss):
    """Loss and gradients with the kernels and without."""
    results = []
    for enabled in (True, False):
        enable_kernels(enabled)
        torch.manual_seed(1)
        module.zero_grad()
        loss = compute_loss()
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients))
    return results


def assert_same(results, tolerance=2e-5):
    (fused_loss, fused), (plain_loss, plain) = results
    torch.testing.assert_close(fused_loss, plain_loss, rtol=1e-5, atol=1e-6)
    assert fused.keys() == plain.keys()
    for name, expected in plain.items():
        scale = expected.abs().max().clamp_min(1e-6)
        error = ((fused[name] - expected).abs().max() / scale).item()
        assert error < tolerance, f"{name}: {error}"


def disturbed(module):
    """Away from the initial weights, where many gradients are zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("rows", "labelled", "dropout"), [(6, 3, 0.0), (6, 3, 0.4), (4, 4, 0.0), (33, 1, 0.0)]
)
def test_stage_1_is_the_same_with_and_without_kernels(rows, labelled, dropout, threads):
    config = WorldModelConfig(**SMALL, action_dropout=dropout)
    module = disturbed(WorldModelModule(make_spec(), config))
    batch = make_batch(rows, labelled, window=9)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))
    finally:
        torch.set_num_threads(before)


def test_masked_actions_are_the_same_with_and_without_kernels():
    config = WorldModelConfig(**SMALL, transition_input="masked_action")
    module = disturbed(WorldModelModule(make_spec(), config))
    batch = make_batch(6, 2, window=9)
    assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))


def test_stage_1_with_one_step_and_one_row():
    module = disturbed(WorldModelModule(make_spec(), WorldModelConfig(**SMALL)))
    batch = make_batch(1, 1, window=1)
    assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))


@pytest.mark.parametrize(
    ("kind", "transition_input"),
    [*((kind, "action") for kind in ("box", "ball", "sphere", "none")), ("box", "masked_action")],
)
def test_stage_2_is_the_same_with_and_without_kernels(kind, transition_input):
    model = disturbed(make_model(transition_input=transition_input))
    module = LatentPolicyModule(model, make_spec(), ConstraintConfig(kind), hidden=16, horizon=4)
    disturbed(module.policy)
    disturbed(module.critic)
    disturbed(module.target_critic)
    start = ModelState(torch.randn(64, 16), torch.randn(64, 4))

    def compute_loss():
        module.scale.started.zero_()
        return module.compute_loss(start)[0]

    assert_same(both_ways(module, compute_loss))


def test_filtered_states_of_episodes_are_the_same():
    """Without gradients, as start states are computed."""
    model, batch = disturbed(make_model()), make_batch(5, 2, window=12)
    states = []
    for enabled in (True, False):
        enable_kernels(enabled)
        torch.manual_seed(2)
        with torch.no_grad():
            states.append(model.observe(batch).features)
    torch.testing.assert_close(states[0], states[1], rtol=1e-5, atol=1e-5)


def test_what_the_loops_do_not_know_goes_step_by_step():
    for variant in ({"stoch_kind": "categorical"}, {"transition_input": "latent"}):
        model, batch = make_model(**variant), make_batch()
        losses = []
        for enabled in (True, False):
            enable_kernels(enabled)
            torch.manual_seed(0)
            losses.append(model.observe(batch).features.detach())
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


def one_layer(x, weight, bias, scale, shift):
    """Of plain tensors."""
    linear, norm = (SimpleNamespace() for _ in range(2))
    linear.weight, linear.bias, linear.out_features = weight, bias, len(weight)
    norm.weight, norm.bias, norm.eps = scale, shift, 1e-3
    return layer_stack.layer_stack(x, [(linear, norm)], None)


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
        ("observe", observe_scan.CObserve),
        ("imagine", imagine_scan.CImagine),
        ("gaussian_kl", gaussian_kl.CGaussianKl),
    ],
)
def test_structures_are_as_large_as_in_c(name, structure):
    assert getattr(build.loaded_kernels(), f"lawm_{name}_size")() == ctypes.sizeof(structure)


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


@pytest.mark.parametrize("threads", [2, 3])
def test_gradients_of_the_loops_do_not_depend_on_the_number_of_threads(threads):
    """Sums run over blocks of rows, which are the same for any number of threads."""
    module = disturbed(WorldModelModule(make_spec(), WorldModelConfig(**SMALL)))
    cell, batch = module.model.rssm.cell, make_batch(40, 20, window=3)
    before, gradients = torch.get_num_threads(), []
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            module.zero_grad()
            module.model.observe(batch).features.sum().backward()
            gradients.append(cell.norm.weight.grad.clone())
    finally:
        torch.set_num_threads(before)
    assert gradients[0].equal(gradients[1])


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    torch.manual_seed(0)
    mask = dropout_mask(torch.empty(1001, 300), p)
    values = mask.unique().tolist()
    assert values == pytest.approx([0.0, 1.0 / (1.0 - p)], rel=1e-4)
    assert (mask == 0).float().mean().item() == pytest.approx(p, abs=4e-3)
    assert (mask == 0).float().mean(dim=0).amax().item() < p + 0.08  # no unit is favoured
    assert Dropout(p).eval()(mask) is mask


def test_same_numbers_from_the_same_call():
    """With several threads too: their sums are added in one order."""
    module = disturbed(WorldModelModule(make_spec(), WorldModelConfig(hidden=96, deter=96)))
    batch = make_batch(128, 64, window=3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = []
        for _ in range(2):
            torch.manual_seed(0)
            module.zero_grad()
            module.compute_loss(batch)[0].backward()
            gradients.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
        assert all(a.equal(b) for a, b in zip(*gradients, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backward", [True, False])
def test_the_loops_are_freed(backward, monkeypatch):
    alive: list[weakref.ref] = []
    for module in (observe_scan, imagine_scan):

        class Watched(module._Loop):
            def __init__(self, *args):
                super().__init__(*args)
                alive.append(weakref.ref(self))

        monkeypatch.setattr(module, "_Loop", Watched)
    stage_1 = WorldModelModule(make_spec(), WorldModelConfig(**SMALL))
    stage_2 = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3)
    losses = [
        stage_1.compute_loss(make_batch())[0],
        stage_2.compute_loss(ModelState(torch.randn(4, 16), torch.randn(4, 4)))[0],
    ]
    assert len(alive) == 2
    if backward:
        losses[0].backward()
        losses[1].backward()
    del losses
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


def test_a_second_backward_pass_adds_the_same_gradients():
    """The loops keep what the forward pass left, and sum into memory of their own."""
    module = WorldModelModule(make_spec(), WorldModelConfig(**SMALL, action_dropout=0.3))
    loss, _ = module.compute_loss(make_batch())
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    loss.backward()
    both = [p.grad for p in module.parameters() if p.grad is not None]
    for once, twice in zip(first, both, strict=True):
        torch.testing.assert_close(twice, 2 * once)


def test_a_model_that_is_trained_is_imagined_step_by_step():
    """The loop gives gradients to the policy alone."""
    module = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3)
    module.world_model.requires_grad_(True)
    module.compute_loss(ModelState(torch.randn(4, 16), torch.randn(4, 4)))[0].backward()
    assert module.world_model.rssm.cell.linear.weight.grad is not None


def test_other_types_and_autocast_are_left_to_pytorch():
    weight = torch.zeros(4, 4)
    assert kernels_usable(weight)
    assert not kernels_usable(weight.double())
    assert not kernels_usable(weight.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not kernels_usable(weight)
    enable_kernels(False)
    assert not kernels_usable(weight)


def test_without_a_compiler_plain_pytorch_is_used(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is None
        loss, _ = WorldModelModule(make_spec(), WorldModelConfig(**SMALL)).compute_loss(
            make_batch()
        )
        assert loss.isfinite()
    finally:
        build.find_kernels.cache_clear()


def test_a_compiler_that_fails_costs_a_warning(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'fatal error: no assembler' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.find_kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match="on plain PyTorch.*no assembler.*compile: off"):
            assert build.find_kernels() is None
        assert not list((tmp_path / "cache" / "lawm").iterdir())
    finally:
        build.find_kernels.cache_clear()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder is wanted")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is not None
    finally:
        build.find_kernels.cache_clear()


@pytest.mark.slow
def test_a_damaged_library_in_the_cache_is_built_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is not None
        (file,) = (tmp_path / "lawm").glob("*.so")
        whole = file.read_bytes()
        file.unlink()  # the loaded file itself must not change
        file.write_bytes(whole[: len(whole) // 3])
        build.find_kernels.cache_clear()
        assert build.find_kernels() is not None
        assert file.stat().st_size > len(whole) // 2
    finally:
        build.find_kernels.cache_clear()
