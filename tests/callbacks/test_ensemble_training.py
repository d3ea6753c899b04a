"""Stage 2 with an ensemble that cuts rollouts, through the command."""

from __future__ import annotations

import csv

import pytest
import torch
from tiny_runs import tiny_fit

from lawm import dynamics_ensemble
from lawm.cli import main

OPTION = ("--policy.disagreement_quantile", "0.5")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(dynamics_ensemble, "UPDATES", 30)


def weights(run):
    path = run / "policy" / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_rollouts_are_cut_and_training_goes_on_as_if_it_had_not_stopped(tiny_data, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options = (*OPTION, "--policy.cooldown", "0")
    assert tiny_fit(tiny_data, whole, *options) == 0
    rows = list(csv.DictReader((whole / "policy" / "metrics.csv").read_text().splitlines()))
    shares = [float(row["policy/known_share"]) for row in rows if row.get("policy/known_share")]
    assert shares
    assert all(0.0 < share < 1.0 for share in shares)
    assert tiny_fit(tiny_data, stopped, *options, "--stages.policy.max_steps", "5") == 0
    assert main(["fit", "--resume", str(stopped), "--stages.policy.max_steps", "10"]) == 0
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(stopped)[name]), name
    assert not any(name.startswith("ensemble.") for name in weights(whole))


def test_a_model_that_infers_no_action_is_refused_before_stage_1(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    masked = ("--world_model.model.transition_input", "masked_action")
    assert tiny_fit(tiny_data, run, *OPTION, *masked) == 2
    assert "needs every action" in capsys.readouterr().err
    assert not run.exists()
