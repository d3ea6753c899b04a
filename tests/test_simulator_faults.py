"""`lawm fit` and `lawm evaluate` with simulators that crash and hang."""

from __future__ import annotations

import csv
import json
import math
import os
import time

import numpy as np
import pytest
from tiny_runs import ENV_ID, EPISODE_STEPS, OBS_DIM, LineEnv, tiny_fit

from lawm import evaluation
from lawm.cli import main
from lawm.envs import registry
from lawm.errors import LawmError

FAULTS = {
    "crash": (lambda: os.abort(), "killed by SIGABRT"),
    "hang": (lambda: time.sleep(600), "within the timeout of 0.5 s and was killed"),
    "no renderer": (
        lambda: (_ for _ in ()).throw(LawmError("no off-screen renderer works")),
        "no off-screen renderer works",
    ),
    "reward is NaN": (
        lambda: ({"state": np.zeros(OBS_DIM)}, math.nan, False, False),
        "at step 1 of the episode of seed 1000 in tiny/line, the simulator gave a reward of nan",
    ),
    "observation is infinite": (
        lambda: ({"state": np.full(OBS_DIM, np.inf)}, 0.0, False, False),
        "the simulator gave an observation 'state' that is inf at index [0]",
    ),
}


@pytest.fixture(params=list(FAULTS))
def faulty(request, monkeypatch):
    """The simulators fail in the first step of every evaluation; the reason that is told."""
    fault, reason = FAULTS[request.param]

    class FaultyEnv(LineEnv):
        def step(self, action):
            return fault()

    monkeypatch.setitem(registry._FACTORIES, "tiny", FaultyEnv)
    return reason


def test_training_goes_on_and_the_evaluations_are_marked_as_failed(
    faulty, finished_run, tiny_data, tmp_path, capsys
):
    run, trained = tmp_path / "run", ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, run, *trained, "--evaluation.timeout", "0.5") == 0
    with (run / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["mean"]) for row in rows] == [("5", ""), ("10", "")]
    assert all(faulty in row["error"] for row in rows)
    evaluation = json.loads((run / "report.json").read_text())["evaluation"]
    assert evaluation["failures"] == 2
    assert faulty in evaluation["final"]["error"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "not measured: " in shown and "2, reasons in evaluation.csv" in shown
    assert (run / "policy" / "DONE").is_file()


def test_lawm_evaluate_ends_with_the_reason(faulty, finished_run, capsys):
    assert main(["evaluate", str(finished_run), "--timeout", "0.5"]) == 2
    error = capsys.readouterr().err
    assert faulty in error
    assert "Traceback" not in error


def test_an_episode_without_an_end_is_a_failed_evaluation(
    finished_run, tiny_data, tmp_path, monkeypatch, capsys
):
    class EndlessEnv(LineEnv):
        def step(self, action):
            obs, reward, _, _ = super().step(action)
            return obs, reward, False, False

    monkeypatch.setitem(registry._FACTORIES, "tiny", EndlessEnv)
    monkeypatch.setattr(evaluation, "MAX_EPISODE_STEPS", 30)
    trained = ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, tmp_path / "run", *trained) == 0
    results = json.loads((tmp_path / "run" / "report.json").read_text())["evaluation"]
    reason = "the episode of seed 1000 in tiny/line has not ended after 30 steps; expected an"
    assert results["final"]["error"].startswith(reason)
    assert results["failures"] == 2
    assert main(["evaluate", str(finished_run)]) == 2
    assert reason in capsys.readouterr().err


def test_an_episode_of_the_longest_length_is_measured(finished_run, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_EPISODE_STEPS", EPISODE_STEPS)
    assert main(["evaluate", str(finished_run), "--episodes", "1"]) == 0


def test_it_is_measured_again_once_the_simulator_works(
    finished_run, tiny_data, tmp_path, monkeypatch
):
    flag = tmp_path / "once"

    class CrashesOnce(LineEnv):
        def step(self, action):
            if not flag.exists():
                flag.touch()
                os.abort()
            return super().step(action)

    monkeypatch.setitem(registry._FACTORIES, "tiny", CrashesOnce)
    trained = ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, tmp_path / "run", *trained) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["evaluation"]["failures"] == 1
    assert report["evaluation"]["final"]["episodes"] == 1
    assert report["environment"] == ENV_ID


def test_a_timeout_of_zero_is_refused(tiny_data, tmp_path, capsys):
    assert tiny_fit(tiny_data, tmp_path / "run", "--evaluation.timeout", "0") == 2
    assert "evaluation.timeout is 0.0; expected seconds above 0" in capsys.readouterr().err
