"""Stage 2: what learns, what is frozen, and what follows slowly."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_factory import VARIANTS, make_model, make_spec

from lawm.imagination import LatentPolicy, imagine
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.support_constraint import ConstraintConfig

PRIOR = "world_model.latent_action.prior_network."


def make_module(**settings) -> LatentPolicyModule:
    model = make_model(**VARIANTS[settings.pop("variant", "action")])
    return LatentPolicyModule(model, make_spec(), **({"hidden": 16, "horizon": 5} | settings))


def starts(module, num=4):
    rssm = module.world_model.rssm
    return ModelState(torch.randn(num, rssm.deter), torch.randn(num, rssm.latent.size))


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_actor_and_critic_alone(variant):
    module = make_module(variant=variant)
    loss, _ = module.compute_loss(starts(module))
    loss.backward()
    moved = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert moved == {"policy", "critic"}
    assert all(p.grad.abs().sum() > 0 for p in module.policy.network.output.parameters())


def test_the_actors_gradient_is_not_the_critics():
    module = make_module()
    torch.nn.init.normal_(module.critic.output.weight)
    module.target_critic.load_state_dict(module.critic.state_dict())
    state = starts(module)
    torch.manual_seed(0)
    imagined = imagine(module.world_model, module.policy, module.constraint, state, 5)
    value = module.value(module.critic, imagined.features[:-1].detach())
    value.sum().backward()
    assert all(p.grad is None for p in module.policy.parameters())


def test_a_heavy_prior_keeps_the_policy_at_its_mean():
    """And a policy that pays nothing goes to where the reward is."""

    def distance(prior_weight):
        torch.manual_seed(0)
        module = make_module(prior_weight=prior_weight, entropy=0.0, learning_rate=1e-2)
        torch.nn.init.normal_(module.world_model.reward_head.output.weight, std=10.0)
        optimizer = torch.optim.Adam(module.policy.parameters(), lr=1e-2)
        state = starts(module, 32)
        for _ in range(40):
            loss, logs = module.compute_loss(state)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return logs["half_square"].item()

    assert distance(0.0) > 10 * distance(100.0)


def test_the_priors_weight_falls_until_the_policy_is_as_far_as_it_may_be():
    def trained(prior_distance):
        torch.manual_seed(0)
        module = make_module(entropy=0.0, prior_weight=0.1, prior_distance=prior_distance)
        torch.nn.init.normal_(module.world_model.reward_head.output.weight, std=10.0)
        optimizer = torch.optim.Adam(module.policy.parameters(), lr=1e-2)
        state, distances = starts(module, 32), []
        for _ in range(150):
            loss, logs = module.compute_loss(state)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            module.prior_weight.update(logs["prior_distance"])
            distances.append(logs["prior_distance"])
        return torch.stack(distances[-20:]).mean().item(), logs["prior_weight"].item()

    distance, weight = trained(prior_distance=0.0)
    assert weight == pytest.approx(0.1)
    assert distance < 0.05
    distance, weight = trained(prior_distance=0.2)
    assert weight < 0.05
    assert distance == pytest.approx(0.2, rel=0.3)


def test_target_critic_is_another_object_and_moves_towards_the_critic():
    module = make_module(target_rate=0.25)
    online, target = module.critic.output.weight, module.target_critic.output.weight
    assert online is not target
    with torch.no_grad():
        online.fill_(1.0)
        target.fill_(0.0)
    module.update_target()
    torch.testing.assert_close(target, torch.full_like(target, 0.25))
    torch.testing.assert_close(online, torch.ones_like(online))


def test_the_world_model_stays_in_evaluation_mode():
    module = make_module()
    module.train()
    assert module.policy.training
    assert not any(part.training for part in module.world_model.modules())


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_checkpoints_leave_the_world_model_out_but_for_a_prior_of_their_own(temperature):
    module = make_module(advantage_temperature=temperature)
    other = make_module(advantage_temperature=temperature)
    with torch.no_grad():
        for parameter in module.policy.parameters():
            parameter.add_(1.0)
    state = module.state_dict()
    kept = {key for key in state if key.startswith("world_model.")}
    assert all(key.startswith(PRIOR) for key in kept)
    assert bool(kept) == (temperature is not None)
    other.load_state_dict(state)
    for mine, theirs in zip(module.policy.parameters(), other.policy.parameters(), strict=True):
        assert mine.equal(theirs)


def test_the_priors_weight_is_in_a_checkpoint_and_older_ones_have_none():
    module, other = make_module(), make_module()
    module.prior_weight.update(torch.tensor(0.0))
    state = module.state_dict()
    other.load_state_dict(state)
    assert other.prior_weight.log_share.equal(module.prior_weight.log_share)
    assert other.prior_weight.current() < module.prior_weight.weight
    older = {k: v for k, v in state.items() if not k.startswith("prior_weight.")}
    another = make_module()
    another.load_state_dict(older)
    assert another.prior_weight.log_share.item() == 0.0


@pytest.mark.parametrize("variant", VARIANTS)
def test_start_value_is_the_critics_at_the_first_filtered_state(variant):
    module = make_module(variant=variant).eval()
    torch.nn.init.normal_(module.critic.output.weight)
    obs = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    value = module.start_value({"state": obs.numpy()})
    model = module.world_model
    first = model.filter_step(torch.zeros(3, model.rssm.deter), model.encoder({"state": obs}))
    expected = module.value(module.critic, first.features).detach().numpy()
    assert value.shape == (3,)
    assert value.std() > 0.0
    assert value == pytest.approx(expected)


def test_the_critics_value_is_in_units_of_return():
    """A network that predicts 1 everywhere promises one unit of reward at each step for ever."""
    module = make_module(gamma=0.98).eval()
    torch.nn.init.ones_(module.critic.output.bias)
    value = module.start_value({"state": torch.zeros(2, 5).numpy()})
    assert value == pytest.approx([50.0, 50.0], rel=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_the_loss_does_not_know_in_which_unit_rewards_come(size):
    def loss(factor):
        torch.manual_seed(0)
        spec = dataclasses.replace(make_spec(), reward_size=factor)
        model = make_model(spec=spec)
        torch.nn.init.normal_(model.reward_head.output.weight, std=10.0)
        module = LatentPolicyModule(model, spec, hidden=16, horizon=5)
        torch.nn.init.normal_(module.critic.output.weight)
        torch.nn.init.normal_(module.target_critic.output.weight)
        return module.compute_loss(starts(module, 16))

    one, logs = loss(1.0)
    other, scaled = loss(size)
    torch.testing.assert_close(one, other)
    for name in ("imagined_reward", "imagined_return", "value", "return_scale"):
        torch.testing.assert_close(size * logs[name], scaled[name])


def test_imagination_follows_the_model_step_by_step():
    module = make_module()
    state = starts(module)
    torch.manual_seed(3)
    imagined = imagine(module.world_model, module.policy, module.constraint, state, 5)
    assert imagined.features.shape == (6, 4, module.world_model.rssm.feature_size)
    assert imagined.features[0].equal(state.features)
    reward = module.world_model.reward(imagined.features[1:])
    torch.testing.assert_close(imagined.reward, reward)


def test_the_policy_finds_the_rewarded_side(monkeypatch):
    """A world whose state is the last action and whose reward is its first dimension."""
    monkeypatch.setattr("lawm.imagination.kernels_usable", lambda weight: False)  # steps one by one
    module = make_module(constraint=ConstraintConfig("box", 2.0), horizon=3, prior_weight=0.0)
    model = module.world_model

    def imagine_step(rssm, state, x):
        return ModelState(torch.cat([x, state.h[:, x.shape[1] :]], dim=-1), state.z)

    model.imagine_step = imagine_step
    model.reward = lambda next_features: next_features[..., 0]
    optimizer = torch.optim.Adam([*module.policy.parameters(), *module.critic.parameters()], 3e-3)
    state = starts(module, 64)

    @torch.no_grad()
    def reward():
        torch.manual_seed(0)
        return imagine(model, module.policy, module.constraint, state, 3).reward.mean()

    @torch.no_grad()
    def reward_at(v):
        """At a corner of the box in all dimensions, the best of them is a bound."""
        prior = model.latent_action.prior(state.features)
        u = module.constraint.apply(prior, v.expand(64, -1), True)
        return model.latent_action.decode(state.features, u)[:, 0].mean()

    before = reward()
    corners = torch.cartesian_prod(*[torch.tensor([-9.0, 9.0])] * module.constraint.size)
    ceiling = max(reward_at(corner) for corner in corners)
    for _ in range(200):
        loss, _ = module.compute_loss(state)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert reward() > before + 0.6 * (ceiling - before)


def test_a_policy_put_in_later_is_trained_and_clipped_by_the_next_fit():
    module = make_module(gradient_clip=1.0)
    module.configure_optimizers()
    module.policy = LatentPolicy(module.world_model.rssm.feature_size, module.constraint.size, 9, 1)
    optimizer = module.configure_optimizers()["optimizer"]
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    assert trained >= {*module.policy.parameters(), *module.critic.parameters()}
    for p in trained:
        p.grad = torch.full_like(p, 10.0)
    module.clip_gradient_norm(optimizer, None)
    norm = torch.cat([p.grad.flatten() for p in module.policy.parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, abs=1e-3)


def test_what_a_callback_adds_to_the_optimiser_is_clipped():
    module = make_module(gradient_clip=1.0)
    module.extra = torch.nn.Linear(4, 4).requires_grad_(False)
    optimizer = module.configure_optimizers()["optimizer"]
    module.extra.requires_grad_(True)
    optimizer.add_param_group({"params": list(module.extra.parameters())})
    for p in module.extra.parameters():
        p.grad = torch.full_like(p, 10.0)
    module.clip_gradient_norm(optimizer, None)
    norm = torch.cat([p.grad.flatten() for p in module.extra.parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, abs=1e-3)
