"""The ensemble agrees where it saw data and not elsewhere, and rollouts end where it does not."""

from __future__ import annotations

import pytest
import torch
from model_factory import VARIANTS, make_model, make_spec

from lawm.dynamics_ensemble import DynamicsEnsemble, Transitions, known_steps
from lawm.errors import LawmError
from lawm.imagination import imagine
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState

FEATURES, ACTIONS = 3, 2


@pytest.fixture(scope="module")
def fitted():
    """Of linear dynamics, seen for states around zero and actions of at most a half."""
    torch.manual_seed(0)
    state, action = torch.randn(2_000, FEATURES), torch.rand(2_000, ACTIONS) - 0.5
    change = 0.3 * state.roll(1, dims=1) + action @ torch.randn(ACTIONS, FEATURES)
    ensemble = DynamicsEnsemble(FEATURES, ACTIONS)
    ensemble.fit(Transitions(state, action, state + change), quantile=0.95)
    return ensemble, state, action, change


def test_it_knows_the_share_of_the_data_that_was_asked_for(fitted):
    ensemble, state, action, _ = fitted
    assert ensemble.is_known(state, action).float().mean().item() == pytest.approx(0.95, abs=0.01)


def test_it_learned_the_dynamics(fitted):
    ensemble, state, action, change = fitted
    predicted = ensemble(state[None], action[None]).mean(dim=0)
    predicted = predicted * ensemble.change_spread + ensemble.change_mean
    assert (predicted - change).square().mean() < 0.02 * change.var()
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())


def test_states_and_actions_that_the_data_lack_are_unknown(fitted):
    ensemble, state, action, _ = fitted
    assert ensemble.is_known(state[:200] + 8.0, action[:200]).float().mean() < 0.05
    assert ensemble.is_known(state[:200], action[:200] + 4.0).float().mean() < 0.05


def test_leading_dimensions_stay(fitted):
    ensemble, state, action, _ = fitted
    flat = ensemble.disagreement(state[:12], action[:12])
    grid = ensemble.disagreement(state[:12].view(3, 4, -1), action[:12].view(3, 4, -1))
    torch.testing.assert_close(grid.flatten(), flat)


class Agrees(torch.nn.Module):
    """An ensemble that knows the first steps of each rollout, other numbers for each."""

    def __init__(self, steps: list[int]) -> None:
        super().__init__()
        self.steps = torch.tensor(steps)

    def is_known(self, features, action):
        assert action.shape[:-1] == features.shape[:-1]
        return torch.arange(len(features))[:, None] != self.steps


def make_module(ensemble=None, variant="action"):
    model = make_model(**VARIANTS[variant])
    torch.nn.init.normal_(model.reward_head.output.weight, std=10.0)
    torch.manual_seed(0)
    module = LatentPolicyModule(model, make_spec(), hidden=16, horizon=5)
    for critic in (module.critic, module.target_critic):
        torch.nn.init.normal_(critic.output.weight)
    module.ensemble = ensemble
    return module


def starts(module, num):
    torch.manual_seed(3)
    rssm = module.world_model.rssm
    return ModelState(torch.randn(num, rssm.deter), torch.randn(num, rssm.latent.size))


@pytest.mark.parametrize("variant", ["action", "latent", "action_categorical"])
def test_a_rollout_is_known_until_the_first_step_that_is_not(variant):
    module = make_module(variant=variant)
    imagined = imagine(module.world_model, module.policy, module.constraint, starts(module, 3), 5)
    known = known_steps(Agrees([0, 2, 9]), module.world_model, module.constraint, imagined)
    assert known.T.tolist() == [[0.0] * 5, [1.0, 1.0, 0.0, 0.0, 0.0], [1.0] * 5]


def test_it_is_asked_about_the_action_that_was_taken():
    """A categorical u is drawn: another draw from the same choice would be another action."""
    module = make_module(variant="action_categorical")
    model = module.world_model
    imagined = imagine(model, module.policy, module.constraint, starts(module, 3), 5)
    asked, agrees = [], Agrees([9, 9, 9])
    agrees.is_known = lambda features, action: (
        asked.append(action) or torch.ones(action.shape[:-1], dtype=torch.bool)
    )
    known_steps(agrees, model, module.constraint, imagined)
    deter, rssm = model.rssm.deter, model.rssm.bind()
    for t, action in enumerate(asked[0]):
        state = ModelState(imagined.features[t, :, :deter], imagined.features[t, :, deter:])
        x = model.transition_input.act(imagined.latent_action[t], action)
        after = rssm.recur(state.h, state.z, x)
        torch.testing.assert_close(after, imagined.features[t + 1, :, :deter])


def test_a_cut_weighs_as_much_whatever_the_process(monkeypatch):
    """Rank 0 knows all steps of its rollouts, this one two of five."""
    module = make_module(Agrees([2, 2]))
    others = torch.ones(1)
    monkeypatch.setattr(module, "_of_all_ranks", lambda mine: torch.cat([mine.detach(), others]))
    known = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0]])
    assert module._share(known).item() == pytest.approx(0.7)


def test_an_ensemble_that_knows_everything_changes_nothing():
    without, within = make_module(), make_module(Agrees([9, 9, 9, 9]))
    losses = []
    for module in (without, within):
        start = starts(module, 4)
        losses.append(module.compute_loss(start)[0])
    torch.testing.assert_close(*losses)


def test_what_lies_behind_a_cut_reaches_no_loss_but_through_the_critic(monkeypatch):
    """Rewards behind it may be anything; before it they count."""
    import lawm.policy_module as policy_module

    real = policy_module.imagine

    def loss(step, bonus):
        module = make_module(Agrees([2, 2, 2, 2]))

        def with_bonus(*args):
            imagined = real(*args)
            imagined.reward[step] += bonus
            return imagined

        monkeypatch.setattr(policy_module, "imagine", with_bonus)
        module.scale.update = lambda percentiles: torch.ones(())  # sees all returns
        with torch.no_grad():
            return module.compute_loss(starts(module, 4))[0]

    assert torch.equal(loss(3, 0.0), loss(3, 100.0))
    assert torch.equal(loss(2, 0.0), loss(2, 100.0)), "the step that is not known itself"
    assert not torch.equal(loss(1, 0.0), loss(1, 100.0))


def test_rollouts_that_were_cut_do_not_go_on():
    module = make_module(Agrees([2, 9]))
    module.continued.share = 1.0
    module.compute_loss(starts(module, 2))
    cut, whole = module.continued.state_dict()["alive"]
    assert cut == 0.0
    assert whole > 0.0, "but for the chance that its episode ends"


def test_a_model_that_infers_no_actions_is_refused():
    model = make_model(**VARIANTS["masked_action"])
    with pytest.raises(LawmError, match="needs every action"):
        LatentPolicyModule(model, make_spec(), disagreement_quantile=0.95)


def test_checkpoints_leave_the_ensemble_out_and_load_beside_one():
    module = make_module(DynamicsEnsemble(FEATURES, ACTIONS))
    state = module.state_dict()
    assert not any(name.startswith("ensemble.") for name in state)
    module.load_state_dict(state)
    make_module().load_state_dict(state)
