"""A file that the HDF5 library does not survive is named; all others cost one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from shard_factory import write_shard
from tiny_runs import fit_arguments

from lawm.cli import main
from lawm.data_modules import structure_probe, structure_walk
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.data_modules.structure_probe import StructureProbe
from lawm.errors import LawmError

HANGING = Path(__file__).parents[1] / "hostile_shards" / "object_header_without_end.h5"
ADVICE = "Ask who made it."


@pytest.fixture
def probe():
    made = StructureProbe()
    yield made
    made._stop(kill=True)


@pytest.fixture
def sound(tmp_path):
    with h5py.File(tmp_path / "sound.h5", "w") as file:
        file["a/b"] = np.arange(3)
        file["a/b"].attrs["text"] = "of variable length"
        file["a/texts"] = ["one", "two"]
        file["a/up"] = file["a"]
    return tmp_path / "sound.h5"


def test_a_hang_is_named_by_every_command(tmp_path, tiny_data, monkeypatch, capsys):
    """One hang for all of them, since what was found of a file is kept."""
    monkeypatch.setattr(structure_probe, "BUSY_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    hanging = tmp_path / "hanging.h5"
    hanging.write_bytes(HANGING.read_bytes())
    expected = f"lawm: error: {hanging} cannot be read: the HDF5 library searched it"
    for command in (
        ["data", "info", str(hanging)],
        ["data", "import", str(hanging), "new.h5"],
        ["data", "import", "--dry-run", "--format", "d4rl", str(hanging), "new.h5"],
        ["data", "label", str(hanging), "--out", "labels.json"],
        fit_arguments(tiny_data, tmp_path / "run", f"--data.action_free_shards={hanging}"),
    ):
        assert main(command) == 2, command
        assert capsys.readouterr().err.splitlines()[-1].startswith(expected), command
    assert main(["data", "check", str(hanging)]) == 1
    verdict = capsys.readouterr().out
    assert verdict.startswith(f"FAULTY  {hanging} cannot be read: the HDF5 library searched")
    assert not (tmp_path / "new.h5").exists() and not (tmp_path / "labels.json").exists()


def test_one_process_for_many_files(probe, tmp_path):
    started = set()
    for number in range(20):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(number + 1)
        probe.check(path, ADVICE)
        started.add(probe._process.pid)
    assert len(started) == 1


def test_a_file_is_tried_again_when_it_was_changed(probe, sound, monkeypatch):
    asked = []
    monkeypatch.setattr(probe, "_ask", asked.append)
    for _ in range(3):
        probe.check(sound, ADVICE)
    assert asked == [sound]
    sound.write_bytes(HANGING.read_bytes())
    probe.check(sound, ADVICE)
    assert asked == [sound, sound]
    probe.trust(sound)
    probe.check(sound, ADVICE)
    assert asked == [sound, sound]


def test_a_process_that_ended_is_started_again(probe, sound, tmp_path):
    probe.check(sound, ADVICE)
    for name in structure_walk.IGNORED_SIGNALS:
        probe._process.send_signal(getattr(signal, name))
    other = write_shard(tmp_path / "other.h5", lengths=[3])
    first = probe._process
    probe.check(other, ADVICE)
    assert probe._process is first
    first.kill()
    first.wait()
    other.touch()
    probe.check(other, ADVICE)
    assert probe._process.pid != first.pid


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('begun', flush=True); os.abort()", "broke down over it (exit code -6)"),
        ("raise ImportError('no module h5py')", "does not start: Traceback"),
        ("pass", "does not start: it ended at once"),
    ],
)
def test_a_process_that_breaks_down(probe, sound, tmp_path, monkeypatch, code, expected):
    script = tmp_path / "walk.py"
    script.write_text(f"import os, sys\nsys.stdin.readline()\n{code}\n")
    monkeypatch.setattr(structure_walk, "__file__", str(script))
    with pytest.raises(LawmError, match=re.escape(expected)) as caught:
        probe.check(sound, ADVICE)
    if "broke down" in expected:
        assert str(caught.value).startswith(f"{sound} cannot be read")
        assert str(caught.value).endswith(ADVICE)


def test_a_file_system_that_does_not_answer(probe, tmp_path, monkeypatch):
    monkeypatch.setattr(structure_probe, "SILENT_SECONDS", 1.0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LawmError, match=r"pipe cannot be read: .* did not get on with it for 1 s"):
        probe.check(tmp_path / "pipe", ADVICE)
    with pytest.raises(LawmError, match="is a pipe or a device"):
        SafeHdf5(tmp_path / "pipe")


def test_waiting_is_not_computing():
    """A file system may be slow: only what the process computes counts against it."""
    code = "import time; from structure_walk import Limits; Limits().set(0.0, 60.0); time.sleep(3)"
    command = [sys.executable, "-c", code]
    folder = Path(structure_walk.__file__).parent
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0


def test_a_fork_starts_its_own_process(probe, sound, tmp_path):
    probe.check(sound, ADVICE)
    other = write_shard(tmp_path / "other.h5", lengths=[3])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        probe.check(sound, ADVICE)
        has_process = probe._process is not None
        probe.check(other, ADVICE)
        os.write(write, f"{has_process} {probe._process.pid}".encode())
        probe._stop(kill=True)
        os._exit(0)
    os.waitpid(child, 0)
    known_needs_process, pid = os.read(read, 100).decode().split()
    os.close(read), os.close(write)
    assert known_needs_process == "False"
    assert int(pid) != probe._process.pid
    probe.check(other, ADVICE)
