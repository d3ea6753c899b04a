"""Stage 2 with a prior of its own, through the command."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny_fit

import lawm
from lawm.cli import main

OPTION = ("--policy.advantage_temperature", "0.5", "--policy.advantage_updates", "30")
PRIOR = "latent_action.prior_network."


def weights(run, stage):
    path = run / stage / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_policy_keeps_its_prior_and_training_goes_on_as_if_it_had_not_stopped(
    tiny_data, tmp_path, capsys
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options = (*OPTION, "--policy.cooldown", "0")
    told = "policy: the latent-action prior is retrained, weighted by advantages, 30 updates"
    assert tiny_fit(tiny_data, whole, *options) == 0
    assert capsys.readouterr().err.count(told) == 1
    assert tiny_fit(tiny_data, stopped, *options, "--stages.policy.max_steps", "5") == 0
    capsys.readouterr()
    assert main(["fit", "--resume", str(stopped), "--stages.policy.max_steps", "10"]) == 0
    assert told not in capsys.readouterr().err
    of_policy, of_model = weights(whole, "policy"), weights(whole, "world_model")
    for name, value in of_policy.items():
        assert torch.equal(value, weights(stopped, "policy")[name]), name
    kept = {name for name in of_policy if name.startswith("world_model.")}
    assert kept == {f"world_model.{k[6:]}" for k in of_model if k.startswith(f"model.{PRIOR}")}
    acting = lawm.load(whole).model.state_dict()
    for name in kept:
        inner = name.removeprefix("world_model.")
        assert torch.equal(acting[inner], of_policy[name])
        if name.endswith("weight"):
            assert not torch.equal(of_model[f"model.{inner}"], of_policy[name]), name


def test_without_it_no_prior_is_kept(tiny_data, tmp_path):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--policy.advantage_temperature", "null") == 0
    assert not any(name.startswith("world_model.") for name in weights(run, "policy"))


def test_a_model_that_infers_no_action_learns_from_labelled_episodes(tiny_data, tmp_path):
    masked = ("--world_model.model.transition_input", "masked_action")
    assert tiny_fit(tiny_data, tmp_path / "run", *OPTION, *masked) == 0


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_temperature_is_above_zero(tiny_data, tmp_path, capsys, value):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--policy.advantage_temperature", value) == 2
    assert "policy.advantage_temperature" in capsys.readouterr().err
    assert not run.exists()
