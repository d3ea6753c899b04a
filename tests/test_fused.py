"""Both stages on the fused kernels and loops against plain PyTorch: same losses, same gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import SMALL, disturbed, make_batch, make_model, make_spec

from lawm.fused.kernels import enable_kernels
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.support_constraint import ConstraintConfig
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossOptions
from lawm.world_model_module import WorldModelModule

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture(autouse=True)
def seeded():
    """Weights that do not depend on the tests before: a gradient of theirs may cancel out."""
    torch.manual_seed(0)


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


def assert_same(results, tolerance=3e-5):
    (fused_loss, fused), (plain_loss, plain) = results
    torch.testing.assert_close(fused_loss, plain_loss, rtol=1e-5, atol=1e-6)
    assert fused.keys() == plain.keys()
    for name, expected in plain.items():
        scale = expected.abs().max().clamp_min(1e-6)
        error = ((fused[name] - expected).abs().max() / scale).item()
        assert error < tolerance, f"{name}: {error}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("rows", "labelled", "dropout"), [(6, 3, 0.0), (6, 3, 0.4), (4, 4, 0.0), (33, 1, 0.0)]
)
def test_stage_1_is_the_same_with_and_without_kernels(rows, labelled, dropout, threads):
    config = WorldModelConfig(**SMALL, action_dropout=dropout, inverse_gradient=0.5)
    module = disturbed(WorldModelModule(make_spec(), config))
    batch = make_batch(rows, labelled, window=9)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("from_dynamics", [0.0, 0.5])
@pytest.mark.parametrize("from_kl", [0.0, 0.5])
def test_stage_1_is_the_same_whatever_trains_what_infers_actions(from_dynamics, from_kl):
    """The loop's backward pass leaves out what nothing trains."""
    config = WorldModelConfig(**SMALL, inverse_gradient=from_dynamics)
    options = LossOptions(inverse_kl_gradient=from_kl, self_labels=False)
    module = disturbed(WorldModelModule(make_spec(), config, options=options))
    batch = make_batch(6, 3, window=9)
    assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))


def test_masked_actions_are_the_same_with_and_without_kernels():
    config = WorldModelConfig(**SMALL, transition_input="masked_action")
    module = disturbed(WorldModelModule(make_spec(), config))
    batch = make_batch(6, 2, window=9)
    assert_same(both_ways(module, lambda: module.compute_loss(batch)[0]))


@pytest.mark.parametrize("rewarded", [0, 1, 4])
def test_stage_1_with_rewards_of_other_rows_than_the_labelled_ones(rewarded):
    module = disturbed(WorldModelModule(make_spec(), WorldModelConfig(**SMALL)))
    batch = make_batch(6, 2, window=9, all_rewards=True)
    some = dataclasses.replace(
        batch, reward=batch.reward[:rewarded], has_reward=batch.has_reward[:rewarded]
    )
    assert_same(both_ways(module, lambda: module.compute_loss(some)[0]))


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
