"""Runs whose stages differ from the method's two: pseudo-labels first, or no world model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch
from tiny_runs import CONF, fit_arguments, tiny_fit

import lawm
from lawm.action_prediction_module import ActionPredictionModule
from lawm.action_predictor import ClonedAgent
from lawm.agent import LatentActionAgent
from lawm.checkpoint_file import read_checkpoint
from lawm.cli import main
from lawm.run_folder import RunFolder

STAGES = {
    "pseudo_label": ["inverse_dynamics", "world_model", "policy"],
    "masked_action": ["world_model", "policy"],
    "bc": ["policy"],
    "bc_pseudo_label": ["inverse_dynamics", "policy"],
}


def preset(name):
    return ("--config", str(CONF / f"{name}.yaml"), "--config", str(CONF / "debug.yaml"))


def weights(run, stage):
    return read_checkpoint(RunFolder(run).stage(stage).last_checkpoint)["state_dict"]


@pytest.fixture(scope="module")
def pseudo_label_run(tiny_data, tmp_path_factory):
    """A whole run that no test may change."""
    run = tmp_path_factory.mktemp("pseudo_label") / "run"
    assert tiny_fit(tiny_data, run, *preset("pseudo_label")) == 0
    return run


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in ("pseudo_label", "bc"))) for n in STAGES],
)
def test_a_baseline_runs_its_stages_and_can_be_evaluated(name, tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *preset(name)) == 0
    report = json.loads((run / "report.json").read_text())
    assert list(report["stages"]) == STAGES[name]
    assert "mean" in report["evaluation"]["final"]
    agent = lawm.load(run)
    assert isinstance(agent, ClonedAgent if name.startswith("bc") else LatentActionAgent)
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0
    assert "Return" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "stage"), [("bc_pseudo_label", "inverse_dynamics"), ("bc", "policy")]
)
def test_a_stopped_baseline_goes_on_as_if_nothing_had_happened(name, stage, tiny_data, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert tiny_fit(tiny_data, whole, *preset(name)) == 0
    with pytest.MonkeyPatch.context() as patch:
        original = ActionPredictionModule.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == 4:
                signal.raise_signal(signal.SIGTERM)
            return original(self, batch, batch_idx)

        patch.setattr(ActionPredictionModule, "training_step", training_step)
        assert tiny_fit(tiny_data, stopped, *preset(name)) == 75
    assert not (stopped / stage / "DONE").exists()
    assert main(["fit", "--resume", str(stopped), "--trainer.accelerator", "cpu"]) == 0
    for done in STAGES[name]:
        there, here = weights(whole, done), weights(stopped, done)
        assert all(torch.equal(there[key], here[key]) for key in there), done


def test_pseudo_labels_reach_the_start_states_and_the_world_model(pseudo_label_run):
    """With them no row is action-free any more."""
    header = (pseudo_label_run / "world_model" / "metrics.csv").read_text().splitlines()[0]
    assert "labelled/observation" in header
    assert "action_free/" not in header


def test_other_inverse_dynamics_are_another_world_model(pseudo_label_run, capsys):
    again = ("fit", "--resume", str(pseudo_label_run), "--trainer.accelerator", "cpu")
    assert main([*again, "--inverse_dynamics.learning_rate", "1e-3"]) == 2
    assert "inverse_dynamics.learning_rate (0.0004 there, 0.001 here)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage", "world_model"), "with method behaviour_cloning there is none"),
        (("--world_model_from", "runs/a"), "gives a world model, and with method"),
        (("--cloning.model.after", "1"), "cloning.model.after is 1; expected 0"),
        (("--method", "imitation"), "expected one of"),
    ],
)
def test_what_cloning_has_no_use_for_is_refused(arguments, message, tiny_data, tmp_path, capsys):
    assert tiny_fit(tiny_data, tmp_path / "run", *preset("bc"), *arguments) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bc_pseudo_label", "pseudo_label"])
def test_a_baseline_on_two_processes(name, tiny_data, tmp_path):
    """Each process labels its own windows, with the same network."""
    run = tmp_path / "run"
    arguments = fit_arguments(tiny_data, run, *preset(name))
    processes = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--threads", "1")
    elsewhere = ("--evaluation.env_id", "none")  # the other process does not know the tiny task
    command = [sys.executable, "-m", "lawm", *arguments, *processes, *elsewhere]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "report.json").read_text())
    assert list(report["stages"]) == STAGES[name]
