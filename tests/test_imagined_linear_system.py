"""What a world model that was trained on a linear system imagines and infers, through Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_system import simulate, spec_of
from small_training import STEPS, train

from lawm.trained_world_model import TrainedWorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule


@pytest.mark.parametrize("transition_input", ["action", "latent"])
def test_imagined_observations_follow_the_actions_that_were_chosen(transition_input):
    """Trained on a linear system; other actions than those of the data lead elsewhere."""
    torch.manual_seed(0)
    data, held_out = simulate(40, STEPS, seed=1), simulate(16, STEPS, seed=2)
    sizes = {"deter": 32, "hidden": 32, "embed": 32, "stoch": 8, "latent_action": 4}
    config = WorldModelConfig(transition_input, **sizes)
    module = WorldModelModule(spec_of(data), config, learning_rate=2e-3, warmup_steps=20)
    train(module, data)
    model = TrainedWorldModel(module.model)

    context, horizon = 5, 4
    truth = held_out.obs[:, context + 1 : context + horizon + 1]
    start = model.encode({"state": held_out.obs[:, : context + 1]}, held_out.action[:, :context])

    def error(action):
        imagined = model.imagine(start[:, -1], action=action)
        return float(np.square(imagined.observations["state"] - truth).mean() / truth.var())

    chosen_actions = held_out.action[:, context : context + horizon]
    assert error(chosen_actions) < 0.5 * error(-chosen_actions)
    assert error(chosen_actions) < 0.5
    inferred = model.infer_actions({"state": held_out.obs[:, : context + horizon + 1]})
    known = held_out.action[:, : context + horizon]
    assert 1.0 - np.square(inferred - known).mean() / known.var() > 0.4
