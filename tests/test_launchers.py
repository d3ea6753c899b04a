"""A run on two processes, however they are started and stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killed_run import attempt
from run_comparison import run_differences
from tiny_runs import fit_arguments

from lawm.cli.fit_parser import parse_fit
from lawm.cli.launch import default_run_dir, default_threads
from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder
from lawm.world_model_module import WorldModelModule

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "lawm")


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("LAWM_RUN_DIR", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def test_all_processes_of_a_slurm_job_take_one_folder(monkeypatch):
    for name, value in (("NTASKS", 4), ("PROCID", 3), ("JOB_ID", 17), ("STEP_ID", 0)):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert default_run_dir("x") == Path("runs/x/slurm-17.0")


def test_a_process_that_lightning_starts_takes_the_first_one_s_folder(monkeypatch):
    first = default_run_dir("x")
    monkeypatch.setattr("lawm.cli.launch.is_rank_zero", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert default_run_dir("x") == first


def test_another_launcher_needs_a_run_folder(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LawmError, match=r"Give --run_dir\.$"):
        default_run_dir("x")


def test_the_cores_of_a_slurm_task_are_not_shared_once_more(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    config = parse_fit(["--data.shards", "a.h5", "--trainer.devices", "4"]).config
    assert default_threads(config) == 2
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert default_threads(config) == 8


@pytest.mark.slow
def test_torchrun_and_lightning_train_both_stages_alike(tiny_data, tmp_path):
    arguments = [*fit_arguments(tiny_data, None), "--trainer.devices", "2"]
    arguments += ["--evaluation.env_id", "none"]  # the made-up task exists in this process only
    for launcher in (TORCHRUN, ("-m", "lawm")):
        command = [sys.executable, *launcher, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Stage 2, policy") == done.stdout.count("Look at it") == 1
    one, other = sorted((tmp_path / "runs" / "debug").iterdir())  # one folder for each run
    assert json.loads((one / "report.json").read_text())["stages"]["policy"]["steps"] == 10
    assert run_differences(one, other) == []


@pytest.mark.slow
@pytest.mark.parametrize("module", [WorldModelModule, LatentPolicyModule])
def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(module, tiny_data, tmp_path):
    """And the resumed run equals one that was not stopped."""

    def ask_to_stop():
        original = module.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == 3:
                signal.raise_signal(signal.SIGTERM)
            return original(self, batch, batch_idx)

        module.training_step = training_step

    whole, stopped, log = tmp_path / "whole", tmp_path / "stopped", tmp_path / "log.txt"
    longer = ("--stages.policy.max_steps", "15", "--trainer.devices", "2", "--threads", "1")
    assert attempt(fit_arguments(tiny_data, whole, *longer), log, 2) == 0
    arguments = fit_arguments(tiny_data, stopped, *longer)
    assert attempt(arguments, log, 2, in_child=ask_to_stop) == 75
    stage = RunFolder(stopped).stage("world_model" if module is WorldModelModule else "policy")
    assert stage.has_checkpoint()
    assert not stage.done_marker.exists()
    assert log.read_text().count("Continue with: lawm fit --resume") == 1
    assert attempt(["fit", "--resume", str(stopped)], log, 2) == 0
    assert run_differences(whole, stopped) == []
