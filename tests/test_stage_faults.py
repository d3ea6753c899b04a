"""What stops a run from outside ends it with a sentence, and the last checkpoint stays whole."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import fit_arguments, tiny_fit

from lawm.cli import main
from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder
from lawm.stage_faults import told_in_sentences
from lawm.world_model_module import WorldModelModule

TESTS = Path(__file__).parent
ADVICE = {
    "world_model": "Lower data.batch_size first, then data.window",
    "policy": "Lower start_states.batch_size first, then policy.horizon",
}


@pytest.fixture
def fails_at(monkeypatch):
    """Lets a step of a stage raise."""

    def install(module_class, step, error):
        original = module_class.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                raise error
            return original(self, batch, batch_idx)

        monkeypatch.setattr(module_class, "training_step", training_step)

    return install


def checkpoint_step(run, stage):
    return torch.load(RunFolder(run).stage(stage).last_checkpoint, weights_only=True)["global_step"]


@pytest.mark.parametrize(
    ("module_class", "stage", "step", "saved"),
    [(WorldModelModule, "world_model", 12, 10), (LatentPolicyModule, "policy", 7, 5)],
)
def test_out_of_gpu_memory_says_what_to_lower(
    module_class,
    stage,
    step,
    saved,
    fails_at,
    finished_run,
    tiny_data,
    tmp_path,
    capsys,
    monkeypatch,
):
    fails_at(
        module_class, step, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
    )
    run = tmp_path / "run"
    trained = ("--world_model_from", str(finished_run)) if stage == "policy" else ()
    assert tiny_fit(tiny_data, run, *trained) == 2
    error = capsys.readouterr().err
    assert f"{stage}: the GPU has no memory left (CUDA out of memory. Tried" in error
    assert ADVICE[stage] in error
    assert "Traceback" not in error
    assert checkpoint_step(run, stage) == saved
    monkeypatch.undo()
    assert main(["fit", "--resume", str(run)]) == 0


def test_a_dead_data_worker_stops_the_run_and_leaves_its_checkpoint(
    tiny_data, tmp_path, capsys, monkeypatch
):
    original, before = WorldModelModule.training_step, set(multiprocessing.active_children())

    def training_step(self, batch, batch_idx):
        if self.global_step == 12:
            (worker,) = set(multiprocessing.active_children()) - before
            worker.kill()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(WorldModelModule, "training_step", training_step)
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--data.workers", "1") == 2
    error = capsys.readouterr().err
    assert "a process that reads data has ended (DataLoader worker" in error
    assert "lower data.workers" in error
    assert "Traceback" not in error
    assert checkpoint_step(run, "world_model") == 10


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "the GPU has no memory left"),
        (MemoryError(), "this machine has no memory left"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            "this machine has no memory left",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "x.csv"), "x.csv cannot be written: No"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "a file cannot be written: Quota"),
        (
            OSError(errno.EROFS, "Read-only file system", "x"),
            "x cannot be read or written: Read-only",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.h5"), "a.h5 cannot be used: No such"),
        (OSError(errno.ESTALE, "Stale file handle", "a.h5"), "a.h5 cannot be used: Stale"),
        (RuntimeError("[gloo] Connection closed by peer [::1]"), "another process of this run"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), "a process that reads data"),
        (EOFError(), "a process that reads data has ended .DataLoader worker, while it handed"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "/x/pymp-a/listener-b"),
            "a process that reads data has ended",
        ),
    ],
)
def test_each_has_its_sentence(error, message, tmp_path):
    with (
        pytest.raises(LawmError, match=message) as caught,
        told_in_sentences("policy", tmp_path / "run"),
    ):
        raise error
    assert f"lawm fit --resume {tmp_path / 'run'}" in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("no number"), KeyError("bug")])
def test_mistakes_of_ours_are_not_hidden(error, tmp_path):
    with pytest.raises(type(error)) as caught, told_in_sentences("policy", tmp_path):
        raise error
    assert caught.value is error


LIMITED = """
import resource, signal, sys
import tiny_runs
from lawm.world_model_module import WorldModelModule

original = WorldModelModule.training_step

def training_step(self, batch, batch_idx):
    if self.global_step == 12:  # as on a full disk, files cannot grow any more
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    return original(self, batch, batch_idx)

WorldModelModule.training_step = training_step
sys.exit(tiny_runs.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_middle(tiny_data, tmp_path):
    run, program = tmp_path / "run", tmp_path / "program.py"
    program.write_text(LIMITED)
    done = subprocess.run(
        [sys.executable, str(program), *fit_arguments(tiny_data, run)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written: File too large. Free space on its disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoint_step(run, "world_model") == 10
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert main(["fit", "--resume", str(run)]) == 0


def heed_permissions():
    """In a new process: give up root's right to write what cannot be written."""
    libc, drop_from_bounding_set = ctypes.CDLL(None), 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)


@pytest.mark.slow
def test_a_run_folder_that_became_read_only(finished_run):
    (finished_run / "policy" / "DONE").unlink()
    paths = [finished_run, *finished_run.rglob("*")]
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "import sys, tiny_runs; sys.exit(tiny_runs.main(sys.argv[1:]))",
            ),
            *("fit", "--resume", str(finished_run)),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        preexec_fn=heed_permissions,
        capture_output=True,
        text=True,
        timeout=120,
    )
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 2, done.stderr
    assert f"{finished_run} cannot be written (Permission denied). Make it writable" in done.stderr
    assert "Traceback" not in done.stderr
    after = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    assert after == before


def test_a_shard_that_vanished_stops_a_resume_with_its_name(tiny_data, tmp_path, fails_at, capsys):
    shard = Path(shutil.copy(tiny_data, tmp_path / "mine.h5"))
    fails_at(WorldModelModule, 12, MemoryError())
    run = tmp_path / "run"
    assert tiny_fit(shard, run) == 2
    shard.unlink()
    assert main(["fit", "--resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert str(shard) in error
    assert "Traceback" not in error
    assert checkpoint_step(run, "world_model") == 10


def test_a_shard_that_vanishes_while_training_changes_nothing(tiny_data, tmp_path, monkeypatch):
    """The data are read before the first step."""
    shard = Path(shutil.copy(tiny_data, tmp_path / "mine.h5"))
    original = WorldModelModule.training_step

    def training_step(self, batch, batch_idx):
        shard.unlink(missing_ok=True)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(WorldModelModule, "training_step", training_step)
    assert tiny_fit(shard, tmp_path / "run") == 0


DYING = """
import os, signal, sys
import tiny_runs
from lawm.policy_module import LatentPolicyModule
from lawm.world_model_module import WorldModelModule

module_class = {"world_model": WorldModelModule, "policy": LatentPolicyModule}[sys.argv[1]]
rank, step = int(sys.argv[2]), int(sys.argv[3])
original = module_class.training_step

def training_step(self, batch, batch_idx):
    if (self.global_rank, self.global_step) == (rank, step):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, batch, batch_idx)

module_class.training_step = training_step
if __name__ == "__main__":
    sys.exit(tiny_runs.main(sys.argv[4:]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The checkpoint was written by another number:UserWarning")
@pytest.mark.parametrize(
    ("stage", "rank", "step", "saved"), [("world_model", 1, 13, 10), ("policy", 0, 7, 5)]
)
def test_a_dead_process_ends_the_others(stage, rank, step, saved, tiny_data, tmp_path):
    run, program = tmp_path / "run", tmp_path / "program.py"
    program.write_text(DYING)
    more = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    process = subprocess.Popen(
        [
            *(sys.executable, str(program), stage, str(rank), str(step)),
            *fit_arguments(tiny_data, run, *more),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, error = process.communicate(timeout=120)  # both processes hold the pipe: ends with the last
    assert process.returncode == (2 if rank == 1 else -9), error
    assert "another process of this run has ended, so this one ends too" in error
    assert checkpoint_step(run, stage) == saved
    alone = ("--trainer.devices", "1", "--trainer.strategy", "auto")
    assert main(["fit", "--resume", str(run), *alone]) == 0
