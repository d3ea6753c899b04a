"""Runs that were stopped, damaged or moved go on as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from run_comparison import run_differences
from tiny_runs import tiny_fit

from lawm.checkpoint_file import read_checkpoint
from lawm.cli import main
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder
from lawm.world_model_module import WorldModelModule


@pytest.mark.parametrize(
    ("stage", "module", "step", "workers"),
    [
        ("world_model", WorldModelModule, 13, 0),
        ("world_model", WorldModelModule, 13, 2),
        ("policy", LatentPolicyModule, 7, 0),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    stage, module, step, workers, finished_run, tiny_data, tmp_path, stop_at, capsys, monkeypatch
):
    """Whatever makes its batches; the run that it is compared with had no workers."""
    run = tmp_path / "stopped"
    with monkeypatch.context():
        stop_at(module, step, signal.SIGINT)
        assert tiny_fit(tiny_data, run, "--data.workers", str(workers)) == 130
    assert f"lawm fit --resume {run}" in capsys.readouterr().err
    last = read_checkpoint(RunFolder(run).stage(stage).last_checkpoint)
    assert last["global_step"] == step + 1  # the step that was running is finished
    assert not RunFolder(run).stage(stage).done_marker.exists()

    monkeypatch.undo()
    assert main(["fit", "--resume", str(run)]) == 0
    assert run_differences(finished_run, run) == []


def test_a_run_stopped_in_stage_2_can_be_evaluated(
    finished_run, tiny_data, tmp_path, stop_at, capsys
):
    stop_at(LatentPolicyModule, 7, signal.SIGINT)
    run = tmp_path / "stopped"
    assert tiny_fit(tiny_data, run, "--world_model_from", str(finished_run)) == 130
    assert f"lawm evaluate {run}" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--episodes", "2"]) == 0
    assert "over 2 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("signum", "module"), [(signal.SIGTERM, []), (signal.SIGUSR1, ["--allow-import", "tiny_runs"])]
)
def test_a_scheduler_s_signal_saves_and_ends_with_75(
    signum, module, tiny_data, tmp_path, stop_at, capsys
):
    stop_at(WorldModelModule, 13, signum)
    run = tmp_path / "terminated"
    assert tiny_fit(tiny_data, run, *module) == 75
    command = " ".join(["lawm fit --resume", str(run), *module])
    assert f"stopped by {signum.name}. Continue with: {command}\n" in capsys.readouterr().err
    last = read_checkpoint(RunFolder(run).stage("world_model").last_checkpoint)
    assert last["global_step"] == 14


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    finished_run, tiny_data, tmp_path, capsys, caplog
):
    run = Path(shutil.copytree(finished_run, tmp_path / "damaged"))
    path = RunFolder(run).stage("policy").last_checkpoint
    path.write_bytes(path.read_bytes()[:1000])
    assert main(["fit", "--resume", str(run)]) == 0
    assert f"checkpoint {path} cannot be read" in caplog.text
    assert (path.parent / "last.ckpt.damaged").stat().st_size == 1000
    assert run_differences(finished_run, run) == []


def test_without_any_good_checkpoint_the_run_is_refused(finished_run, capsys):
    stage = RunFolder(finished_run).stage("policy")
    for path in (stage.last_checkpoint, stage.previous_checkpoint):
        path.write_bytes(path.read_bytes()[:1000])
    assert main(["fit", "--resume", str(finished_run)]) == 2
    assert f"checkpoint {stage.previous_checkpoint} cannot be read" in capsys.readouterr().err


def test_a_moved_run_goes_on(finished_run, tiny_data, tmp_path, stop_at, monkeypatch):
    first, moved = tmp_path / "first", tmp_path / "elsewhere" / "moved"
    with monkeypatch.context():
        stop_at(LatentPolicyModule, 7, signal.SIGTERM)
        assert tiny_fit(tiny_data, first, "--world_model_from", str(finished_run)) == 75
    monkeypatch.undo()
    moved.parent.mkdir()
    first.rename(moved)
    assert main(["fit", "--resume", str(moved)]) == 0
    assert not first.exists()
    assert run_differences(finished_run, moved) == []


def test_a_run_in_use_is_refused(finished_run, tiny_data, tmp_path, capsys):
    """By another process; a second lock of the same one would be granted."""
    holder = (
        "import sys; from pathlib import Path; from lawm.run_lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(RunFolder(finished_run).lock_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert main(["fit", "--resume", str(finished_run)]) == 2
        process.stdin.close()
    assert f"is in use by process {process.pid} on" in capsys.readouterr().err
