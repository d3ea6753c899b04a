"""What a kernel's call needs is used again by later calls, and by none at the same time."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from model_factory import SMALL, disturbed, make_batch, make_model, make_spec

from lawm.fused import imagine_loop, layer_stack, observe_loop
from lawm.fused.dropout import Dropout
from lawm.fused.kernels import enable_kernels
from lawm.fused.plans import MOST_KINDS, MOST_NUMBERS, MOST_UNUSED, Plans
from lawm.imagination import imagine
from lawm.networks import MLP, NormedLinear
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule


class Buffers:
    numbers = 4


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("backward", [True, False])
def test_what_an_update_made_is_used_by_the_next_one(backward, stage, monkeypatch):
    made, counts = [], []
    for module, name in (
        (observe_loop, "CObserve"),
        (imagine_loop, "CImagine"),
        (layer_stack, "CMlpCall"),
    ):
        monkeypatch.setattr(module, name, counted(getattr(module, name), made))
    world_model = WorldModelModule(make_spec(), WorldModelConfig(**SMALL))
    policy = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3)
    for _ in range(3):
        on_data, imagined = (world_model, make_batch()), (policy, some_states())
        module, batch = on_data if stage == 1 else imagined
        loss = module.compute_loss(batch)[0]
        if backward:
            loss.backward()
        del loss
        counts.append(len(made))
    assert counts[0] > 3  # of stage 2 the loop, and the heads of rewards, values and target values
    assert counts[1:] == counts[:1] * 2


def some_states(rows=4):
    return ModelState(torch.randn(rows, 16), torch.randn(rows, 4))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("rows", [4, 5])  # even ones keep pairs of rows in bfloat16
def test_imagination_gives_an_update_its_own_gradients(rows, bf16):
    """Whatever ran in between."""
    module = disturbed(LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3))
    start, policy = some_states(rows), module.policy

    def loss(start=start):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            imagined = imagine(module.world_model, policy, module.constraint, start, 3)
            return (imagined.reward + imagined.entropy).sum()

    def gradients(loss, keep=False):
        policy.zero_grad()
        loss.backward(retain_graph=keep)
        return [p.grad.clone() for p in policy.parameters()]

    first = loss()
    expected = gradients(first, keep=True)
    others = [loss(some_states(rows)) for _ in range(2)]
    assert all(a.equal(b) for a, b in zip(gradients(first), expected, strict=True))
    assert not gradients(others[0])[0].equal(expected[0])
    del first, others
    assert all(a.equal(b) for a, b in zip(gradients(loss()), expected, strict=True))
    with torch.no_grad():
        module.world_model.rssm.cell.linear.weight.mul_(1.5)  # read anew by each update
    assert not gradients(loss())[0].equal(expected[0])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("changed", ["width", "depth", "norm", "min_std"])
def test_a_changed_network_is_not_imagined_with_the_plan_of_the_old_one(changed):
    module, start = (
        LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3),
        some_states(),
    )

    def features():
        torch.manual_seed(0)
        return imagine(module.world_model, module.policy, module.constraint, start, 3).features

    before, size = features(), module.constraint.size
    if changed == "min_std":
        module.world_model.rssm.latent.min_std = 1.0
    elif changed == "norm":
        module.policy.network.hidden[0].norm.eps = 10.0
    else:
        hidden, layers = (24, 2) if changed == "width" else (16, 3)
        module.policy.network = MLP(20, hidden, 2 * size, layers)
    after = features()
    assert not after.equal(before)
    enable_kernels(False)
    torch.testing.assert_close(features(), after, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("fused", [True, False])
def test_gradients_reach_the_policy_through_the_features_and_through_those_behind_steps(fused):
    enable_kernels(fused)
    module = disturbed(LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3))
    start, gradients = some_states(), []
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.25, 0.75)):
        torch.manual_seed(0)
        module.policy.zero_grad()
        imagined = imagine(module.world_model, module.policy, module.constraint, start, 3)
        of_all, of_after = (x.square().sum() for x in (imagined.features[1:], imagined.after))
        (weights[0] * of_all + weights[1] * of_after).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.policy.parameters()]))
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


@pytest.mark.usefixtures("kernels")
def test_no_start_states_are_imagined_as_none():
    module = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3)
    imagined = imagine(module.world_model, module.policy, module.constraint, some_states(0), 3)
    assert imagined.features.shape == (4, 0, 20)
    imagined.reward.sum().backward()
    assert not any(p.grad.any() for p in module.policy.parameters())


def counted(structure, made):
    """As the structure, and remembers what it was made with."""

    def make(**fields):
        made.append(fields)
        return structure(**fields)

    return make


@pytest.mark.usefixtures("kernels")
def test_a_graph_that_is_kept_finds_its_numbers_as_they_were():
    """A plan of a graph that lives is given to no other call."""
    module, batch = (
        disturbed(WorldModelModule(make_spec(), WorldModelConfig(**SMALL))),
        make_batch(),
    )

    def gradients(loss, keep=False):
        module.zero_grad()
        loss.backward(retain_graph=keep)
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    torch.manual_seed(0)
    first = module.compute_loss(batch)[0]
    expected = gradients(first, keep=True)
    others = [module.compute_loss(make_batch(seed=5))[0] for _ in range(2)]
    assert all(a.equal(b) for a, b in zip(gradients(first), expected, strict=True))
    of_others = [gradients(loss) for loss in others]
    assert not of_others[0][0].equal(expected[0])


@pytest.mark.usefixtures("kernels")
def test_a_backward_pass_leaves_the_gradients_of_an_earlier_one_alone():
    """Of the same plan, where the later one wants fewer of them."""
    model, batch = disturbed(make_model()), make_batch()
    model.observe(batch).inverse_posterior.square().sum().backward()
    norm = model.latent_action.inverse_layer.norm
    kept = {p: p.grad for p in (norm.weight, norm.bias)}
    expected = [gradient.clone() for gradient in kept.values()]
    assert all(gradient.any() for gradient in expected)
    model.zero_grad()
    model.observe(batch).z_posterior.square().sum().backward()
    assert all(a.equal(b) for a, b in zip(kept.values(), expected, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("bf16", [False, True])
def test_what_a_graph_saved_may_lie_elsewhere_in_the_backward_pass(bf16):
    """As with activations that are kept on another device."""
    module, batch = (
        disturbed(WorldModelModule(make_spec(), WorldModelConfig(**SMALL))),
        make_batch(),
    )

    def gradients(pack):
        torch.manual_seed(0)
        module.zero_grad()
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.clone())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), hooks:
            loss = module.compute_loss(batch)[0]
        loss.backward()
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    here, elsewhere = gradients(lambda x: x), gradients(lambda x: x.detach().clone())
    for ours, theirs in zip(elsewhere, here, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("order", [(0.0, 0.9, 0.0), (0.9, 0.0, 0.5)])
def test_dropout_is_that_of_the_call(order):
    layer, x = NormedLinear(5, 400), torch.randn(50, 5)
    for p in order:
        out = layer(x, dropout=Dropout(p) if p else None)
        assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.03)


@pytest.mark.usefixtures("kernels")
def test_a_copy_of_a_model_has_plans_of_its_own():
    model, batch = make_model(), make_batch()
    model.observe(batch)
    copy = deepcopy(model)
    assert copy.filter_plans is not model.filter_plans
    with torch.no_grad():
        copy.reward_head.output.bias.add_(1.0)
        features = torch.randn(3, 5, 20)
        ahead = copy.reward(features) - model.reward(features)
    torch.testing.assert_close(ahead, torch.full((3, 5), copy.reward_unit))


@pytest.mark.usefixtures("kernels")
def test_what_inference_mode_made_is_used_there_alone():
    model, batch = make_model(), make_batch()
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            torch.manual_seed(0)
            features = model.observe(batch).features
    with torch.no_grad():
        torch.manual_seed(0)
        torch.testing.assert_close(model.observe(batch).features, features)


def test_an_unused_plan_is_leased_again_one_in_use_is_not():
    plans = Plans()
    first = plans.lease((1,), Buffers)
    second = plans.lease((1,), Buffers)
    assert first.plan is not second.plan
    plan = first.plan
    del first
    assert plans.lease((2,), Buffers).plan is not plan
    assert plans.lease((1,), Buffers).plan is plan


def test_few_kinds_and_no_large_buffers_are_kept():
    plans = Plans()
    plan = plans.lease((0,), Buffers).plan
    for kind in range(1, MOST_KINDS + 1):
        plans.lease((kind,), Buffers)
    assert plans.lease((0,), Buffers).plan is not plan
    large = plans.lease((0, "large"), Buffers)
    plan = large.plan
    plan.numbers = MOST_NUMBERS + 1
    del large
    assert plans.lease((0, "large"), Buffers).plan is not plan


def test_few_plans_of_a_kind_are_kept():
    plans, made = Plans(), []

    def make():
        made.append(Buffers())
        return made[-1]

    leases = [plans.lease((1,), make) for _ in range(3 * MOST_UNUSED)]
    del leases
    again = [plans.lease((1,), make) for _ in range(2 * MOST_UNUSED)]
    assert len(made) == len(again) + 2 * MOST_UNUSED


def test_plans_are_neither_copied_nor_pickled():
    plans = Plans()
    plans.lease((1,), Buffers)
    made = []
    for copy in (deepcopy(plans), pickle.loads(pickle.dumps(plans))):
        copy.lease((1,), lambda: made.append(1) or Buffers())
    assert len(made) == 2
