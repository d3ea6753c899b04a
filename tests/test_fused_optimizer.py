"""AdamW and clipping on the kernels against torch's."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from lawm.fused import optimizer as fused
from lawm.fused.kernels import enable_kernels
from lawm.fused.optimizer import FusedAdamW, clip_gradient_norm

pytestmark = pytest.mark.usefixtures("kernels")

SHAPES = [(300, 70), (8192,), (1,), (3, 5, 7), ()]


def make_parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters, seed, *, without=()):
    generator = torch.Generator().manual_seed(seed)
    for number, p in enumerate(parameters):
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        if number in without:
            p.grad = None


def groups(parameters):
    return [
        {"params": parameters[:2], "weight_decay": 0.1},
        {"params": parameters[2:], "weight_decay": 0.0, "lr": 1e-2},
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_adamw_is_that_of_torch(threads, monkeypatch):
    ours, theirs = make_parameters(), make_parameters()
    of_torch = torch.optim.AdamW(groups(theirs), lr=3e-3)
    of_kernel = FusedAdamW(groups(ours), lr=3e-3)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    monkeypatch.setattr(torch.optim.AdamW, "step", only_first(torch.optim.AdamW.step, of_kernel))
    try:
        for step in range(20):
            missing = (1,) if step in (5, 6) else ()
            for parameters, optimizer in ((ours, of_kernel), (theirs, of_torch)):
                give_gradients(parameters, step, without=missing)
                optimizer.step()
            of_torch.param_groups[0]["lr"] = of_kernel.param_groups[0]["lr"] = 3e-3 / (step + 1)
    finally:
        torch.set_num_threads(before)
    for p, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, expected, rtol=1e-5, atol=1e-6)
        for name, value in of_torch.state[expected].items():
            torch.testing.assert_close(of_kernel.state[p][name], value, rtol=1e-5, atol=1e-7)


def only_first(step, watched):
    """Torch's step, which the watched optimiser may take once: to make its state."""
    taken = []

    def counting(self, closure=None):
        if self is watched:
            assert not taken
            taken.append(self)
        return step(self, closure)

    return counting


def test_it_goes_on_from_a_state_of_torch():
    """Checkpoints of both are the same, in either direction."""
    first = make_parameters()
    of_torch = torch.optim.AdamW(groups(first), lr=1e-3)
    for step in range(3):
        give_gradients(first, step)
        of_torch.step()
    file = io.BytesIO()
    torch.save(of_torch.state_dict(), file)
    file.seek(0)
    second = copy.deepcopy(first)
    of_kernel = FusedAdamW(groups(second), lr=1e-3)
    of_kernel.load_state_dict(torch.load(file, weights_only=True))
    for parameters, optimizer in ((first, of_torch), (second, of_kernel)):
        give_gradients(parameters, 9)
        optimizer.step()
    torch.testing.assert_close(second, first)


def test_a_closure_runs_once_with_gradients():
    parameters = make_parameters()
    optimizer = FusedAdamW(parameters, lr=1e-3)
    for calls in (1, 2):
        asked = []

        def closure(asked=asked):
            loss = sum(p.square().sum() for p in parameters)
            optimizer.zero_grad()
            loss.backward()
            asked.append(loss)
            return loss

        before = [p.detach().clone() for p in parameters]
        assert optimizer.step(closure) is asked[0]
        assert len(asked) == 1, calls
        assert not any(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


@pytest.mark.parametrize("limit", [0.1, 1e6, None])
def test_clipping_is_that_of_torch(limit):
    ours, theirs = make_parameters(), make_parameters()
    for parameters in (ours, theirs):
        give_gradients(parameters, 1, without=(3,))
    norm = clip_gradient_norm(iter(ours), limit)
    expected = nn.utils.clip_grad_norm_(theirs, limit or float("inf"))
    torch.testing.assert_close(norm, expected)
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad)


def test_the_norm_does_not_depend_on_the_threads():
    parameters = make_parameters()
    give_gradients(parameters, 1)
    before, norms = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            norms.add(clip_gradient_norm(parameters, None).item())
    finally:
        torch.set_num_threads(before)
    assert len(norms) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_the_norm(bad):
    parameters = make_parameters()
    give_gradients(parameters, 1)
    parameters[1].grad[5] = bad
    assert not clip_gradient_norm(parameters, 1.0).isfinite()


def test_other_parameters_are_left_to_torch(monkeypatch):
    """Of another type, without gradients in one piece, or with kernels switched off."""
    monkeypatch.setattr(fused, "loaded_kernels", lambda: pytest.fail("the kernels were asked"))
    turned = nn.Parameter(torch.randn(4, 6).t())
    for parameters in ([nn.Parameter(torch.randn(3).double())], [turned], []):
        give_gradients(parameters, 0)
        assert clip_gradient_norm(parameters, 1.0).isfinite()
        if parameters:
            optimizer = FusedAdamW(parameters, lr=1e-3)
            optimizer.step()
            optimizer.step()
    enable_kernels(False)
    parameters = make_parameters()
    give_gradients(parameters, 0)
    assert clip_gradient_norm(parameters, 1.0) > 0.0


def test_a_graph_from_before_an_update_refuses_the_changed_weights():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = FusedAdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()  # torch's, whose fused one does not say what it changed
    loss = parameter.square().sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_nothing_is_updated_where_a_number_was_found_that_is_not_finite():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = FusedAdamW([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    optimizer.step()
    before = parameter.detach().clone()
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(parameter, before)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert not torch.equal(parameter, before)


def test_hooks_run_once_an_update():
    torch.optim.AdamW([nn.Parameter(torch.ones(1))])  # from then on torch's step runs hooks itself
    parameter = nn.Parameter(torch.ones(3))
    optimizer, calls = FusedAdamW([parameter], lr=0.1), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    parameter.grad = torch.ones(3)
    assert optimizer.state[parameter] == {}  # as somebody who looks at it leaves it
    for updates in (1, 2):
        optimizer.step()
        assert len(calls) == updates


def test_a_limit_of_zero_leaves_no_gradient():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    clip_gradient_norm([parameter], 0.0)
    assert parameter.grad.abs().max() == 0.0
