from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lawm import doctor
from lawm.cli import main
from lawm.doctor import Check, diagnose
from lawm.doctor_probes import probe

ROOT = Path(__file__).parents[1]
GOOD = {
    "device": ({"gpus": [], "mps": False, "cuda_build": None}, ""),
    "kernels": ({"built": True, "bf16": True}, ""),
    "simulator": ({}, ""),
    "rendering": ({"backend": "egl", "frames": 321.0}, ""),
    "configuration": ({"labelled": 15, "free": 137}, ""),
}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Diagnoses a machine where everything works but for what is given."""

    def found(**faults) -> dict[str, Check]:
        outcomes = {**GOOD, **faults}
        codes = {code: name for name, code in doctor.PROBES.items()}
        monkeypatch.setattr(doctor, "probe", lambda code, *rest: outcomes[codes[code]])
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        return {check.name: check for check in diagnose(Path("conf/cheetah.yaml"), tmp_path / "r")}

    return found


@pytest.fixture
def files(monkeypatch):
    """What the system says in its own files."""
    content = {}
    monkeypatch.setattr(doctor, "_read", lambda path: content.get(path, ""))
    return content


def levels(checks):
    return {name: check.level for name, check in checks.items() if check.level != "ok"}


def test_a_good_machine(machine):
    checks = machine()
    assert levels(checks) == {}
    assert all(check.found and not check.fix for check in checks.values())
    assert checks["rendering"].found.startswith("egl, 321 pictures of 64 x 64 a second")
    assert re.search(r"torch \d.*mujoco \d", checks["packages"].found)
    assert "15 labelled and 137 action-free" in checks["lawm fit --config conf/cheetah.yaml"].found


@pytest.mark.parametrize(
    ("fault", "name", "level", "words"),
    [
        ({"device": (None, "killed by signal 11")}, "devices", "error", "CUDA_VISIBLE_DEVICES"),
        (
            {"kernels": ({"built": False, "bf16": False}, "")},
            "CPU kernels",
            "warning",
            "Install a C compiler",
        ),
        ({"kernels": (None, "cc said: no")}, "CPU kernels", "warning", "1.5 times slower"),
        ({"simulator": (None, "ImportError: x")}, "simulator", "error", "evaluation.env_id none"),
        (
            {"configuration": (None, "lawm.errors.LawmError: data.shards: no file")},
            "lawm fit --config conf/cheetah.yaml",
            "error",
            "folder of the repository",
        ),
        (
            {"rendering": (None, "lawm.errors.LawmError: no off-screen renderer works")},
            "rendering",
            "warning",
            "libosmesa6",
        ),
    ],
)
def test_what_fails_is_told_with_what_to_do(fault, name, level, words, machine):
    checks = machine(**fault)
    assert levels(checks) == {name: level}
    assert words in checks[name].fix
    assert "LawmError" not in checks[name].found


def test_a_gpu_without_a_fitting_torch(machine, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "built for the CPU alone" in machine()["devices"].found
    unusable = {"gpus": [], "mps": False, "cuda_build": "13.0"}
    assert "a GPU that torch cannot use" in machine(device=(unusable, ""))["devices"].found
    usable = {**unusable, "gpus": ["H100 (70.0 of 80.0 GiB free, bfloat16 yes)"]}
    assert levels(machine(device=(usable, ""))) == {}


def test_a_container_without_memory_and_cores(machine, files):
    files["/proc/meminfo"] = "MemTotal: 99999999 kB\nMemAvailable:   50331648 kB\n"
    assert machine()["memory"].found.startswith("48.0 GiB of")
    files["/sys/fs/cgroup/memory.max"] = f"{2 * doctor.GIB}\n"
    files["/sys/fs/cgroup/memory.current"] = f"{doctor.GIB}\n"
    files["/sys/fs/cgroup/cpu.max"] = "50000 100000\n"
    checks = machine()
    assert levels(checks) == {"memory": "error", "threads": "warning"}
    assert checks["memory"].found.startswith("1.0 GiB of")
    assert "--threads 1" in checks["threads"].fix
    files["/sys/fs/cgroup/memory.max"] = files["/sys/fs/cgroup/cpu.max"] = "max\n"
    files["/sys/fs/cgroup/cpu.max"] = "max 100000\n"
    assert levels(machine()) == {}


def test_a_full_disk_and_one_that_cannot_be_written(machine, monkeypatch):
    usage = type("Usage", (), {"free": 0.05 * doctor.GIB})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert levels(machine()) == {"disk": "error"}
    usage.free = 0.5 * doctor.GIB
    assert levels(machine()) == {"disk": "warning"}
    usage.free = 50 * doctor.GIB

    def refuse(**options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = machine()["disk"]
    assert check.level == "error"
    assert "cannot be written: Read-only file system" in check.found


def test_a_package_of_a_version_that_does_not_fit(machine, monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata,
        "requires",
        lambda name: ["numpy>=99", "nonesuch>=1", "rich", 'pytest>=99; extra == "dev"'],
    )
    check = machine()["packages"]
    assert check.level == "error"
    assert re.search(r"Install numpy>=99 \(found \d.*\), nonesuch>=1 \(found none\):", check.fix)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import time; time.sleep(600)", "no answer within 2 s"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import os; os._exit(3)", "exit code 3"),
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
    ],
)
def test_a_probe_that_hangs_or_crashes_is_a_finding(code, reason):
    assert probe(code, timeout=2.0) == (None, reason)


def test_a_probe_gives_its_last_line():
    assert probe("import sys; print('noise'); print('{\"a\": \"%s\"}' % sys.argv[1])", "b") == (
        {"a": "b"},
        "",
    )


def test_the_exit_code_says_whether_fit_could_run(machine, capsys):
    machine()
    assert main(["doctor"]) == 0
    assert "`lawm fit --config conf/cheetah.yaml` can run here." in capsys.readouterr().out
    machine(simulator=(None, "ImportError: x"))
    assert main(["doctor", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["can_fit"] is False
    assert {"name", "level", "found", "fix"} == set(answer["checks"][0])


@pytest.mark.slow
def test_on_this_very_machine():
    command = [sys.executable, "-m", "lawm", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer
    assert answer["can_fit"] is True
    nowhere = [*command, "--config", "nowhere.yaml"]
    done = subprocess.run(nowhere, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "nowhere.yaml does not exist" in done.stdout
