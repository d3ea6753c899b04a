"""A latent action that is known is found again, from few labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_system import OBS_DIM, simulate, spec_of, windows
from small_training import EPISODES, STEPS, train
from torchmetrics.functional import r2_score

from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossOptions
from lawm.world_model_module import WorldModelModule


@torch.no_grad()
def action_r2(module, batch, transitions_of=slice(None)):
    """R^2 of the action decoded from q_free, which reads the transitions of the given rows."""
    torch.manual_seed(0)
    model, rows = module.model, batch.num_labelled
    observed = model.observe(batch)
    latent_action, before = model.latent_action, observed.features[:-1]
    obs = {"state": batch.obs["state"].transpose(0, 1)}
    transitions = model.transitions(obs, {}, dim=0)[:, transitions_of]
    projected = latent_action.project_transition(transitions, with_labels=False)
    inverse = latent_action.inverse_posterior(before, projected)
    decoded = latent_action.decode(before, latent_action.latent.mode(inverse))
    target = batch.action.transpose(0, 1)
    assert decoded.shape == target.shape == (STEPS, rows, 2)
    return r2_score(decoded.flatten(0, 1), target.flatten(0, 1)).item()


@pytest.mark.parametrize("transition_input", ["action", "latent"])
def test_the_latent_action_of_a_linear_system_is_recovered_from_four_labelled_episodes(
    transition_input,
):
    torch.manual_seed(0)
    data, held_out = simulate(EPISODES, STEPS, seed=1), simulate(8, STEPS, seed=2)
    assert data.obs.shape == (EPISODES, STEPS + 1, OBS_DIM)
    config = WorldModelConfig(
        transition_input, deter=32, hidden=32, embed=32, stoch=8, latent_action=4
    )
    module = WorldModelModule(spec_of(data), config, learning_rate=2e-3, warmup_steps=20)
    everything = windows(held_out, np.arange(8), np.zeros(8, dtype=int), STEPS, 8)
    untrained = action_r2(module, everything)
    train(module, data)
    module.eval()

    # The actions are drawn anew at each step: without the right next frame there is nothing to see
    assert action_r2(module, everything) > 0.8
    assert untrained < 0.1
    assert action_r2(module, everything, transitions_of=torch.arange(8).roll(1)) < 0.1


@pytest.mark.parametrize(("inverse_kl_gradient", "finds"), [(None, True), (1.0, False)])
def test_actions_that_move_the_state_by_little_are_not_drawn_to_the_prior(
    inverse_kl_gradient, finds
):
    """A twentieth of the way a step: few nats of the observation, which the KL would outweigh."""
    torch.manual_seed(0)
    data, held_out = (simulate(n, STEPS, seed=i, pace=0.05) for i, n in ((1, EPISODES), (2, 8)))
    config = WorldModelConfig(deter=32, hidden=32, embed=32, stoch=8, latent_action=4)
    # where rows label themselves, this KL has no part in the loss
    options = LossOptions(
        inverse_kl_gradient=inverse_kl_gradient, self_labels=inverse_kl_gradient is None
    )
    module = WorldModelModule(
        spec_of(data), config, options=options, learning_rate=2e-3, warmup_steps=20
    )
    train(module, data)
    batch = windows(held_out, np.arange(8), np.zeros(8, dtype=int), STEPS, 8)
    assert (action_r2(module.eval(), batch) > 0.7) == finds


@pytest.mark.parametrize(("rate", "is_near"), [(3e-2, True), (2e-3, False)])
def test_learned_deviations_of_observations_come_down_to_the_errors(rate, is_near):
    """Else the likelihood is blind to what an action changes, whatever the networks know."""
    torch.manual_seed(0)
    data = simulate(EPISODES, STEPS, seed=1)
    config = WorldModelConfig(deter=32, hidden=32, embed=32, stoch=8, latent_action=4)
    module = WorldModelModule(
        spec_of(data), config, learning_rate=2e-3, deviation_learning_rate=rate, warmup_steps=20
    )
    train(module, data)
    model = module.eval().model
    batch = windows(data, np.arange(8), np.zeros(8, dtype=int), STEPS, 4)
    obs = batch.obs["state"].transpose(0, 1)
    with torch.no_grad():
        (decoder,) = model.observation_decoder.decoders
        predicted = decoder(model.observe(batch).features)
        error = ((predicted - obs) / decoder.std).square().mean(dim=(0, 1)).sqrt()
        ratio = (decoder.deviation() / error).mean().item()
        # over ten seeds 1.1 to 1.45, and 1.9 to 2.3 with the rate of all other parameters
        assert (ratio < 1.7) == is_near


def test_each_parameter_is_trained_at_one_learning_rate():
    module = WorldModelModule(
        spec_of(simulate(2, STEPS, seed=1)), WorldModelConfig(), deviation_learning_rate=0.5
    )
    groups = module.configure_optimizers()["optimizer"].param_groups
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in module.parameters())
    (apart,) = [group for group in groups if group["initial_lr"] == 0.5]
    assert [p.shape for p in apart["params"]] == [(OBS_DIM,)]
    assert apart["weight_decay"] == 0.0
