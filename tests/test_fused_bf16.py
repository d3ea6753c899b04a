"""The kernels in bfloat16: products of rounded factors, everything else in float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_factory import SMALL, make_batch, make_model, make_spec
from torch import nn
from torch.utils.checkpoint import checkpoint

from lawm.fused.build import loaded_kernels
from lawm.fused.gaussian_kl import gaussian_kl
from lawm.fused.kernels import enable_kernels, kernels_usable
from lawm.fused.layer_stack import StackPlan
from lawm.fused.norm_silu import norm_silu
from lawm.fused.structures import address, run_kernel
from lawm.networks import MLP, Linear, NormedLinear
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def bf16_products():
    """On a processor that has no instructions for them, autocast is left to PyTorch."""
    if not loaded_kernels().lawm_has_bf16():
        pytest.skip("this processor has no AVX-512 BF16")


def rounded(x):
    """To bfloat16, as float64."""
    return x.detach().bfloat16().double()


def autocast(enabled=True):
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


@pytest.mark.usefixtures("bf16_products")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(0, 4), (1, 1), (5, 7), (16, 48), (33, 50), (192, 97)]
)
@pytest.mark.parametrize("rows", [0, 1, 3, 8, 45, 500])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_multiplies_rounded_factors_and_sums_in_float32(rows, inputs, outputs, bias):
    torch.manual_seed(rows * inputs + outputs)
    layer, x = Linear(inputs, outputs, bias=bias), torch.randn(rows, inputs, requires_grad=True)
    added = None if bias else torch.randn(outputs, requires_grad=True)
    with autocast():
        y = layer(x, added)
    assert y.dtype == torch.float32
    d_y = torch.randn_like(y)
    y.backward(d_y)
    of_bias = layer.bias if added is None else added
    expected = rounded(x) @ rounded(layer.weight).t() + of_bias.detach()
    torch.testing.assert_close(of_bias.grad, d_y.sum(dim=0))
    torch.testing.assert_close(y.detach().double(), expected, rtol=1e-5, atol=1e-5)
    of_x = (rounded(d_y) @ rounded(layer.weight)).float()
    torch.testing.assert_close(x.grad, of_x, rtol=1e-5, atol=1e-5)
    of_weight = (rounded(d_y).t() @ rounded(x)).float()
    torch.testing.assert_close(layer.weight.grad, of_weight, rtol=1e-5, atol=4e-5)


@pytest.mark.usefixtures("bf16_products")
@pytest.mark.parametrize("rows", [1, 17, 45, 385, 770])
def test_gradients_of_rows_together_are_those_of_their_parts(rows):
    """They are summed by pairs of rows, of which the last may be half of one, and by blocks."""
    torch.manual_seed(rows)
    network, x, d_out = MLP(37, 50, 5), torch.randn(rows, 37), torch.randn(rows, 5)
    first = rows // 2

    def gradients(*parts):
        network.zero_grad()
        with autocast():
            for part in parts:
                network(x[part]).backward(d_out[part])
        return [p.grad.clone() for p in network.parameters()]

    together = gradients(slice(None))
    for ours, theirs in zip(together, gradients(slice(0, first), slice(first, None)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    again = gradients(slice(None))
    assert all(a.equal(b) for a, b in zip(together, again, strict=True))


@pytest.mark.usefixtures("bf16_products")
@pytest.mark.parametrize(("rows", "inputs"), [(64, 3001), (9, 4096), (9, 4097), (3, 1_000_001)])
def test_long_rows_are_taken_in_parts(rows, inputs):
    """Rounded rows lie on the stack, 64 KiB at a time."""
    layer, x = Linear(inputs, 20), torch.randn(rows, inputs)
    with autocast(), torch.no_grad():
        y = layer(x)
    expected = rounded(x) @ rounded(layer.weight).t() + layer.bias.detach()
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("bf16_products")
def test_a_nan_stays_a_nan_and_infinity_infinite():
    layer, x = Linear(40, 20), torch.randn(4, 40)
    x[1, 3], x[2, 5] = float("nan"), float("inf")
    with autocast(), torch.no_grad():
        y = layer(x)
    assert y[1].isnan().all()
    assert y[2].isinf().all()
    assert y[[0, 3]].isfinite().all()


def gradient(module, loss):
    """Of all parameters in one vector."""
    module.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def three_ways(module, compute_loss):
    """Loss and gradient in float32, of the kernels in bfloat16 and of autocast on plain PyTorch."""
    results = []
    for enabled, bf16 in ((True, False), (True, True), (False, True)):
        enable_kernels(enabled)
        torch.manual_seed(1)
        with autocast(bf16):
            loss = compute_loss()
        assert loss.dtype == torch.float32
        results.append((loss.detach(), gradient(module, loss)))
    return results


def assert_close_to_float32(results):
    """As near as autocast is, and near."""
    (loss, expected), (fused_loss, fused), (_, plain) = results
    torch.testing.assert_close(fused_loss, loss, rtol=1e-2, atol=1e-2)
    error, of_autocast = ((x - expected).norm() / expected.norm() for x in (fused, plain))
    assert error < 0.05
    assert error < 1.2 * of_autocast


@pytest.mark.usefixtures("bf16_products")
@pytest.mark.parametrize(("rows", "labelled"), [(6, 3), (4, 4), (33, 1)])
def test_stage_1_is_as_near_to_float32_as_autocast(rows, labelled):
    torch.manual_seed(3)
    module = WorldModelModule(make_spec(), WorldModelConfig(**SMALL, inverse_gradient=0.5))
    batch = make_batch(rows, labelled, window=9)
    assert_close_to_float32(three_ways(module, lambda: module.compute_loss(batch)[0]))


@pytest.mark.usefixtures("bf16_products")
def test_stage_2_is_as_near_to_float32_as_autocast():
    torch.manual_seed(4)
    module = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=4)
    for parameter in module.policy.parameters():  # its first outputs are zero
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    start = ModelState(torch.randn(64, 16), torch.randn(64, 4))

    def compute_loss():
        module.scale.started.zero_()
        return module.compute_loss(start)[0]

    assert_close_to_float32(three_ways(module, compute_loss))


@pytest.mark.usefixtures("bf16_products")
def test_the_backward_pass_takes_the_precision_of_the_forward_pass():
    layer, x = Linear(30, 20), torch.randn(8, 30)
    with autocast():
        y = layer(x)
        within = torch.autograd.grad(y.sum(), layer.weight, retain_graph=True)[0]
    outside = torch.autograd.grad(y.sum(), layer.weight)[0]
    assert within.equal(outside)
    assert within.dtype == torch.float32


def test_only_bfloat16_is_multiplied_in_a_shorter_type():
    weight, has_bf16 = torch.zeros(4, 4), bool(loaded_kernels().lawm_has_bf16())
    with autocast():
        assert kernels_usable(weight) is has_bf16
    with torch.autocast("cpu", torch.float16):
        assert not kernels_usable(weight)


@pytest.mark.parametrize("cols", [3, 16, 24, 32, 64, 128])
@pytest.mark.parametrize("rows", [(1,), (5, 7), (20, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_silu_of_many_rows(rows, cols, dtype):
    torch.manual_seed(cols)
    norm = nn.LayerNorm(cols, eps=1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(*rows, cols).to(dtype).requires_grad_()
    d_out = torch.randn(*rows, cols).to(dtype)
    out = norm_silu(x, norm)
    out.backward(d_out)
    exact_norm, exact_x = (
        nn.LayerNorm(cols, eps=1e-3).double(),
        x.detach().double().requires_grad_(),
    )
    exact_norm.load_state_dict(norm.state_dict())
    exact = F.silu(exact_norm(exact_x))
    exact.backward(d_out.double())
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 2e-2}
    )
    torch.testing.assert_close(out.double(), exact, **tolerance)
    torch.testing.assert_close(x.grad.double(), exact_x.grad, **tolerance)
    sums = {"rtol": 1e-4, "atol": 1e-3}  # in float32 whatever the type of the rows
    torch.testing.assert_close(norm.weight.grad.double(), exact_norm.weight.grad, **sums)
    torch.testing.assert_close(norm.bias.grad.double(), exact_norm.bias.grad, **sums)


def test_what_is_computed_again_for_the_backward_pass_is_read_there():
    """Activation checkpointing gives back other tensors than the forward pass had."""
    norm, x = nn.LayerNorm(16), torch.randn(40, 16, requires_grad=True)
    of_kl = torch.randn(2, 40, 16, requires_grad=True)
    gradients = []
    for again in (False, True):

        def run(function, x, again=again):
            return checkpoint(function, x, use_reentrant=False) if again else function(x)

        norms = run(lambda x: norm_silu(x * 1.0, norm), x)
        kls = run(lambda pair: gaussian_kl(pair[0] * 1.0, pair[1] * 1.0, 0.1), of_kl)
        _ = [torch.full((40, 16), 7.0) for _ in range(20)]  # in the place of what was freed
        gradients.append(torch.autograd.grad(norms.sum() + kls.sum(), (x, of_kl)))
    for expected, found in zip(*gradients, strict=True):
        assert found.equal(expected)


@pytest.mark.parametrize("bf16", [False, True])
def test_an_offset_takes_the_place_of_the_first_bias(bf16):
    layer, offset = NormedLinear(5, 7), torch.randn(4, 7)
    with autocast(bf16):
        layer(torch.randn(4, 5), offset).sum().backward()
    assert layer.linear.bias.grad is None
    assert layer.linear.weight.grad is not None


@pytest.mark.parametrize("cols", [16, 64])
def test_norm_and_silu_keep_a_nan_and_do_not_depend_on_threads(cols):
    norm, before, results = nn.LayerNorm(cols), torch.get_num_threads(), []
    x = torch.randn(300, cols)
    broken = x.clone()
    broken[17, 2] = float("nan")
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad():
            out = norm_silu(broken.to(dtype), norm)
        assert out[17].isnan().all()
        assert out.isnan().sum() == cols
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            norm.zero_grad()
            norm_silu(x, norm).square().sum().backward()
            results.append(norm.weight.grad.clone())
    finally:
        torch.set_num_threads(before)
    assert results[0].equal(results[1])


@pytest.mark.usefixtures("bf16_products")
@pytest.mark.parametrize("cols", [7, 16, 33])
def test_what_is_kept_in_bfloat16_ends_where_its_room_ends(cols):
    linear, norm, x = nn.Linear(5, cols), nn.LayerNorm(cols), torch.randn(9, 5)
    with autocast():
        plan = StackPlan([(linear, norm, None)], None, rows=9, trained=False)
    room = torch.full((9 * cols + 1,), 7.0, dtype=torch.bfloat16)
    plan.call.mlp.layer[0].normed = room.data_ptr()
    out = plan.mlp.begin(
        (linear.weight, linear.bias, norm.weight, norm.bias), [(linear, norm, None)]
    )
    plan.call.threads, plan.call.x, plan.call.x_stride = 1, address(x), x.stride(0)
    run_kernel("lawm_mlp_forward", plan.call)
    assert room[-1] == 7.0
    normed = F.layer_norm(rounded(x) @ rounded(linear.weight).t() + linear.bias, (cols,))
    torch.testing.assert_close(room[:-1].view(9, cols).double(), normed, rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(out.double(), F.silu(normed), rtol=1e-4, atol=1e-4)
