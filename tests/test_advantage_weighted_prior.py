"""The prior that is trained on what turned out well."""

from __future__ import annotations

import copy

import pytest
import torch
from model_factory import ACTION_DIM, make_batch, make_model

from lawm import advantage_weighted_prior
from lawm.advantage_weighted_prior import advantage_weights, advantages, train_prior
from lawm.batch import EpisodeBatch
from lawm.posterior_episodes import PosteriorEpisodes, posterior_episodes

STEPS, EPISODES = 12, 40


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(advantage_weighted_prior, "BATCH", 64)


def rewarded_model(**config):
    """A model whose reward is the first number of the state that is reached."""
    model = make_model(**config).eval().requires_grad_(False)
    model.reward = lambda features: features[..., 0]
    return model


def episodes_of(model, features, action, length=None, terminated=None):
    steps, num = action.shape[:2]
    part = model.latent_action
    length = torch.full((num,), steps) if length is None else length
    return PosteriorEpisodes(
        features=features,
        action=action,
        posterior=part.action_posterior(features[:-1], part.project_action(action)),
        happened=torch.arange(steps)[:, None] < length,
        length=length,
        terminated=torch.zeros(num, dtype=torch.bool) if terminated is None else terminated,
    )


def good_and_bad(model):
    """Actions of either sign, at random; a positive one earns 1 at once, a negative one nothing."""
    torch.manual_seed(1)
    sign = torch.where(torch.rand(STEPS, EPISODES, 1) > 0.5, 1.0, -1.0)
    features = torch.randn(STEPS + 1, EPISODES, model.rssm.feature_size)
    features[..., 0] = 0.0
    features[1:, :, 0] = (sign[..., 0] > 0).float()
    return episodes_of(model, features, sign.expand(-1, -1, ACTION_DIM) * 0.8), sign[..., 0]


def test_an_advantage_is_what_a_transition_did_better_than_its_state_promised():
    model = rewarded_model()
    seen, sign = good_and_bad(model)
    torch.manual_seed(0)
    advantage = advantages(model, [seen], gamma=0.5, lambda_=0.9, updates=400).view(STEPS, EPISODES)
    assert advantage.shape == sign.shape
    assert advantage[sign > 0].mean() - advantage[sign < 0].mean() == pytest.approx(1.0, abs=0.4)
    assert abs(float(advantage.mean())) < 0.2


def test_batches_of_episodes_are_told_apart_and_padding_counts_for_nothing():
    model = rewarded_model()
    seen, _ = good_and_bad(model)
    length = torch.full((EPISODES,), STEPS)
    length[:5] = 4
    padded = episodes_of(model, seen.features, seen.action, length)
    torch.manual_seed(0)
    some = advantages(model, [padded], 0.9, 0.9, 400)
    assert len(some) == int(length.sum())
    noisy = padded.features.clone()
    for row in range(5):
        noisy[5:, row] = 100.0 * torch.randn_like(noisy[5:, row])
    torch.manual_seed(0)
    same = advantages(model, [episodes_of(model, noisy, seen.action, length)], 0.9, 0.9, 400)
    torch.testing.assert_close(same, some)


@pytest.mark.parametrize("is_over", [True, False])
def test_an_episode_that_is_over_promises_nothing_more_and_one_that_was_cut_does(is_over):
    """Every state earns 1; where nothing is ever over, all is worth 1 / (1 - gamma)."""
    model = rewarded_model()
    features = torch.randn(STEPS + 1, EPISODES, model.rssm.feature_size)
    features[..., 0] = 1.0
    is_last = torch.full((EPISODES,), is_over)
    seen = episodes_of(
        model, features, torch.zeros(STEPS, EPISODES, ACTION_DIM), terminated=is_last
    )
    value = lambda x: torch.full(x.shape[:-1], 10.0)  # noqa: E731 (in units of reward / (1 - gamma))
    rewards, scale = [model.reward(features[1:])], model.reward_unit / (1.0 - 0.9)
    returns = advantage_weighted_prior._lambda_returns(rewards, value, scale, [seen], 0.9, 1.0)
    last = returns.view(STEPS, EPISODES)[-1]
    expected = 1.0 if is_over else 1.0 + 0.9 * 10.0 * scale
    torch.testing.assert_close(last, torch.full_like(last, expected))


def test_weights_rise_with_the_advantage_up_to_a_bound_and_are_one_in_the_mean():
    torch.manual_seed(0)
    advantage = torch.randn(1000)
    weight = advantage_weights(advantage, 1.0)
    assert weight.mean() == pytest.approx(1.0, abs=1e-5)
    order = advantage.argsort()
    assert (weight[order].diff() >= 0).all()
    torch.testing.assert_close(advantage_weights(advantage * 1e4, 1.0), weight)
    assert advantage_weights(advantage, 0.3).std() > weight.std()
    assert advantage_weights(advantage, 100.0).std() < 0.02
    bound = advantage_weights(advantage, 0.2)
    assert (bound == bound.max()).sum() > 10


@pytest.mark.parametrize("constant", [-1000.0, -5.0, 5.0])
def test_weights_do_not_read_what_all_advantages_have_in_common(constant):
    torch.manual_seed(0)
    advantage = torch.randn(1000)
    shifted = advantage_weights(advantage + constant, 0.5)
    torch.testing.assert_close(shifted, advantage_weights(advantage, 0.5), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("advantage", [[-3.0] * 5, [0.0] * 5, [-7.0], [2.0]])
def test_where_nothing_did_better_all_weigh_the_same(advantage):
    weight = advantage_weights(torch.tensor(advantage), 0.1)
    torch.testing.assert_close(weight, torch.ones(len(advantage)))


@pytest.mark.parametrize("constant", [-1.0, 1.0])
def test_what_every_step_earns_decides_no_weight(constant):
    """With a long horizon, in which a constant reward is most of a return."""
    model = rewarded_model()
    seen, _ = good_and_bad(model)

    def effective_share(more):
        model.reward = lambda features: features[..., 0] + more
        torch.manual_seed(0)
        found = advantages(model, [seen], gamma=0.99, lambda_=0.95, updates=600)
        weight = advantage_weights(found, 0.5)
        return float(weight.sum().square() / weight.square().sum()) / len(weight)

    assert effective_share(constant) == pytest.approx(effective_share(0.0), abs=0.12)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_the_prior_comes_to_expect_what_turned_out_well_and_nothing_else_moves(kind):
    model = rewarded_model(latent_action_kind=kind)
    seen, sign = good_and_bad(model)
    before = copy.deepcopy(model.state_dict())

    def distance():
        """Of the posteriors of good and of bad actions from the prior, in nats."""
        part = model.latent_action
        posterior = part.action_posterior(seen.features[:-1], part.project_action(seen.action))
        kl = part.latent.total_kl(posterior, part.prior(seen.features[:-1]))
        return float(kl[sign > 0].mean()), float(kl[sign < 0].mean())

    torch.manual_seed(0)
    train_prior(model, [seen], temperature=0.5, gamma=0.5, lambda_=0.9, updates=300)
    good, bad = distance()
    assert good < bad
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == name.startswith("latent_action.prior_network."), name
    assert not any(p.requires_grad for p in model.parameters())

    torch.manual_seed(0)
    train_prior(model, [seen], temperature=1000.0, gamma=0.5, lambda_=0.9, updates=300)
    alike_good, alike_bad = distance()
    assert alike_bad - alike_good < 0.5 * (bad - good), "that imitates both"


@pytest.mark.parametrize(("variant", "rows"), [("action", 5), ("latent", 5), ("masked_action", 2)])
def test_episodes_hold_known_and_inferred_actions(variant, rows):
    model, batch = (
        make_model(transition_input=variant).eval(),
        make_batch(5, 2, 6, all_rewards=True),
    )
    episodes = EpisodeBatch(
        obs=batch.obs,
        action=batch.action,
        reward=batch.reward,
        has_reward=batch.has_reward,
        length=torch.tensor([6, 4, 6, 5, 3]),
        terminated=torch.tensor([False, True, False, False, True]),
    )
    (seen,) = posterior_episodes(model, [episodes])
    assert seen.features.shape == (7, rows, model.rssm.feature_size)
    assert seen.action.shape == (6, rows, ACTION_DIM)
    assert torch.equal(seen.action[:, :2], batch.action.transpose(0, 1))
    part, before = model.latent_action, seen.features[:-1]
    told = part.action_posterior(before, part.project_action(seen.action))
    same = [torch.allclose(told[:, row], seen.posterior[:, row], atol=1e-5) for row in range(rows)]
    # what was inferred is a self-label where it enters the recurrence; else q_free speaks
    assert same == [True] * 2 + [variant == "action"] * (rows - 2)
    assert seen.happened.sum(dim=0).tolist() == [6, 4, 6, 5, 3][:rows]
    assert seen.terminated.tolist() == [False, True, False, False, True][:rows]
