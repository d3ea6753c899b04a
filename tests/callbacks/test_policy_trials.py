"""Several policies are begun, and the best in imagination goes on."""

from __future__ import annotations

import csv

import pytest
import torch
from tiny_runs import tiny_fit

from lawm.callbacks import policy_trials
from lawm.checkpoint_file import read_checkpoint
from lawm.cli import main
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder

OPTIONS = ("--policy.trials", "3", "--policy.trial_steps", "4", "--stages.policy.max_steps", "24")


@pytest.fixture
def trained(finished_run):
    return ("--world_model_from", str(finished_run), *OPTIONS)


@pytest.fixture
def seen(monkeypatch):
    """Policy and moments of Adam before each update, by its step."""
    found = {}
    original = LatentPolicyModule.training_step

    def training_step(self, batch, batch_idx):
        optimizer = self.trainer.optimizers[0]
        first = next(self.policy.parameters())
        moment = optimizer.state[first]["exp_avg"] if first in optimizer.state else None
        weights = {k: v.clone() for k, v in self.state_dict().items()}
        found[self.global_step] = weights, None if moment is None else moment.clone()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LatentPolicyModule, "training_step", training_step)
    return found


@pytest.mark.parametrize("first", [1.0, float("nan")])
def test_the_best_trial_goes_on_where_it_ended(
    first, seen, trained, tiny_data, tmp_path, monkeypatch, capsys
):
    rewards, ended = iter([first, 3.0, 2.0]), []

    def imagined_reward(trainer, module, starts, seed):
        first = next(module.policy.parameters())
        moment = trainer.optimizers[0].state[first]["exp_avg"].clone()
        ended.append(({k: v.clone() for k, v in module.state_dict().items()}, moment))
        return next(rewards)

    monkeypatch.setattr(policy_trials, "imagined_reward", imagined_reward)
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *trained) == 0
    for step in (4, 8):
        weights, moment = seen[step]
        assert moment is None, "a new policy has a new optimiser"
        assert not torch.equal(
            weights["policy.network.output.bias"], ended[0][0]["policy.network.output.bias"]
        )
        assert weights["prior_weight.log_share"] == 0.0
        assert torch.equal(
            weights["critic.output.weight"], torch.zeros_like(weights["critic.output.weight"])
        )
    assert not torch.equal(*(seen[s][0]["policy.network.hidden.0.linear.weight"] for s in (4, 8)))
    weights, moment = seen[12]
    assert all(torch.equal(value, ended[1][0][name]) for name, value in weights.items())
    assert torch.equal(moment, ended[1][1])
    with RunFolder(run).stage("policy").metrics_file.open() as file:
        told = {r["step"]: r["selection/trial_reward"] for r in csv.DictReader(file)}
    assert [float(told[step]) for step in ("8", "12")] == [3.0, 2.0]


@pytest.mark.parametrize("crash_at", [7, 13])
def test_a_stop_and_a_resume_change_nothing(crash_at, trained, tiny_data, tmp_path, monkeypatch):
    original = LatentPolicyModule.training_step

    def crash(self, batch, batch_idx):
        if self.global_step == crash_at:
            raise RuntimeError("out of luck")
        return original(self, batch, batch_idx)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = (*trained, "--stages.policy.checkpoint_every_n_steps", "4")
    assert tiny_fit(tiny_data, whole, *options) == 0
    with monkeypatch.context() as patch:
        patch.setattr(LatentPolicyModule, "training_step", crash)
        with pytest.raises(RuntimeError, match="out of luck"):
            tiny_fit(tiny_data, parts, *options)
    last = read_checkpoint(RunFolder(parts).stage("policy").last_checkpoint)
    assert last["global_step"] == crash_at // 4 * 4
    assert main(["fit", "--resume", str(parts)]) == 0
    there, here = (
        read_checkpoint(RunFolder(run).stage("policy").last_checkpoint)["state_dict"]
        for run in (whole, parts)
    )
    assert there.keys() == here.keys()
    assert not [key for key in there if not torch.equal(there[key], here[key])]


def test_no_rollout_of_another_policy_goes_on(trained, tiny_data, tmp_path, monkeypatch):
    before = {}
    original = LatentPolicyModule.training_step

    def training_step(self, batch, batch_idx):
        before[self.global_step] = self.continued.state_dict()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(LatentPolicyModule, "training_step", training_step)
    assert tiny_fit(tiny_data, tmp_path / "run", *trained) == 0
    assert {step for step in range(24) if not before[step]} == {0, 4, 8, 12}


def test_trials_that_leave_no_update_are_refused(trained, tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *trained, "--stages.policy.max_steps", "23") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "take 12 updates, and of stages.policy.max_steps 23 the first 11 have the full" in error
    assert not run.exists()


def test_one_policy_has_nothing_to_be_compared_with(seen, finished_run, tiny_data, tmp_path):
    run, steps = tmp_path / "run", ("--policy.trial_steps", "4", "--stages.policy.max_steps", "6")
    assert tiny_fit(tiny_data, run, "--world_model_from", str(finished_run), *steps) == 0
    assert seen[4][1] is not None
    assert "selection/trial_reward" not in RunFolder(run).stage("policy").metrics_file.read_text()
