"""Many runs side by side, with a launcher that trains nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest
from grid_factory import TENTH, grid, row
from rich.console import Console

from lawm import user_modules
from lawm.benchmarks import grid_runner
from lawm.benchmarks.grid_display import GridDisplay
from lawm.benchmarks.grid_folder import GridFolder
from lawm.benchmarks.grid_runner import (
    Active,
    Ending,
    Slot,
    launcher,
    make_slots,
    run_grid,
    why_it_ended,
)

RUNS = grid()


class FakeProcess:
    """Ends with its code after some looks; asked to stop, saves and ends with 75."""

    def __init__(self, looks: int, code: int = 0) -> None:
        self.looks, self.code, self.asked = looks, code, False

    def poll(self):
        self.looks -= 1
        return self.code if self.looks <= 0 or self.asked else None

    def terminate(self):
        self.asked, self.code = True, 75

    def kill(self):
        raise AssertionError("a run that saves when asked is not killed")


class Observer:
    def __init__(self) -> None:
        self.order, self.endings, self.most = [], [], 0

    def began(self, active):
        self.order.append(active.run)

    def ended(self, ending):
        self.endings.append(ending)

    def waited(self, active):
        self.most = max(self.most, len(active))
        assert len({one.slot for one in active}) == len(active), "a slot holds one run"


def train(runs, slots, launch, observer, is_stopped=lambda: False):
    explain = lambda run, code: "" if code == 0 else f"code {code}"  # noqa: E731
    run_grid(runs, slots, launch, explain, observer, is_stopped, poll_s=0)


@pytest.mark.parametrize("jobs", [1, 3, 50])
def test_all_runs_are_trained_once_in_order(jobs):
    observer, slots = Observer(), make_slots(jobs, None, [], cores=2)
    train(RUNS, slots, lambda run, slot: FakeProcess(1 + run.seed), observer)
    assert observer.order == RUNS
    assert {ending.run for ending in observer.endings} == set(RUNS)
    assert not any(ending.error for ending in observer.endings)
    assert observer.most <= min(jobs, len(RUNS))


def test_a_failed_run_does_not_stop_the_others():
    observer = Observer()
    train(RUNS, [Slot(0, 1)], lambda run, slot: FakeProcess(1, int(run == RUNS[3])), observer)
    assert len(observer.endings) == len(RUNS)
    assert [ending.run for ending in observer.endings if ending.error] == [RUNS[3]]


def test_a_stop_asks_the_active_runs_to_save_and_counts_them_as_neither():
    observer, processes = Observer(), []

    def launch(run, slot):
        processes.append(FakeProcess(looks=1 if len(processes) < 2 else 10**9))
        return processes[-1]

    looks = iter(range(10**6))
    train(RUNS, [Slot(0, 1), Slot(1, 1)], launch, observer, lambda: next(looks) > 20)
    assert [ending.run for ending in observer.endings] == RUNS[:2]
    assert observer.order == RUNS[: len(processes)] != RUNS
    assert all(process.asked for process in processes[2:])


def test_a_terminal_shows_what_runs_and_what_is_left(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})
    folder, todo = GridFolder(tmp_path), RUNS[:3]
    metrics = folder.run(todo[0]).stage("world_model").metrics_file
    metrics.parent.mkdir(parents=True)
    metrics.write_text("step,loss\n50,1.0\n100,\n")
    with GridDisplay(console, folder, todo, 1, [row(hours=2.0)]) as display:
        active = Active(todo[0], Slot(0, 1, "3"), FakeProcess(1), 0.0)
        display.began(active)
        display.waited([active])
        display.ended(Ending(todo[0], "", 60.0), row("oracle"), [row(hours=2.0)])
        display.ended(Ending(todo[1], "it broke", 60.0), None, [])
    text = console.file.getvalue()
    assert "cheetah/oracle-all-0 begins on GPU 3" in text
    assert "world_model" in text
    assert " 100 " in text
    assert "0 of 3 finished, 1 running, about 6.0 h left" in text
    assert "cheetah/oracle-all-0 finished: return 300, 1.0 min; 2 left, about 4.0 h" in text
    assert "walker/oracle-all-0 failed: it broke" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((None, None, [], 8), [(1, None)] * 8),
        ((None, 4, [], 8), [(4, None)] * 2),
        ((3, None, [], 8), [(1, None)] * 3),
        ((None, None, ["0", "3"], 8), [(4, "0"), (4, "3")]),
        ((4, None, ["0", "1"], 8), [(2, "0"), (2, "1"), (2, "0"), (2, "1")]),
        ((None, 16, [], 8), [(16, None)]),
    ],
)
def test_slots(options, expected):
    assert [(slot.threads, slot.gpu) for slot in make_slots(*options)] == expected


def test_a_slot_shows_its_gpu_alone():
    assert Slot(0, 1, "3").environment()["CUDA_VISIBLE_DEVICES"] == "3"
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert Slot(0, 1).environment().get("CUDA_VISIBLE_DEVICES") == before


def test_why_a_run_ended(tmp_path):
    folder = GridFolder(tmp_path)
    (run,) = grid(("cheetah",), ("lawm",), (TENTH,), (0,))
    log = folder.log(run)
    assert why_it_ended(folder, run, 1) == "exit code 1"
    log.parent.mkdir()
    log.write_text("Traceback\nValueError: bad\n\n")
    assert why_it_ended(folder, run, 1) == "ValueError: bad"
    log.write_text("lawm: error: the disk is full.\nbye\n")
    assert why_it_ended(folder, run, 2) == "the disk is full."
    assert "memory" in why_it_ended(folder, run, -signal.SIGKILL)
    assert why_it_ended(folder, run, -signal.SIGSEGV) == "killed by SIGSEGV"
    assert "saved" in why_it_ended(folder, run, 75)
    assert why_it_ended(folder, run, 0), "ended well, but without a report"
    report = folder.run(run).report_file
    report.parent.mkdir()
    report.write_text("{}")
    assert why_it_ended(folder, run, 0) == ""


def test_world_models_of_another_grid_are_taken_where_they_are_finished(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(grid_runner.subprocess, "Popen", lambda words, **_: commands.append(words))
    other = GridFolder(tmp_path / "other")
    there, elsewhere = grid(("cheetah", "walker"), ("lawm",), (TENTH,), (0,))
    stage = other.run(there).stage("world_model")
    stage.path.mkdir(parents=True)
    stage.done_marker.write_text("{}")
    launch = launcher(GridFolder(tmp_path / "grid"), other)
    launch(there, Slot(0, 1))
    launch(elsewhere, Slot(0, 1))
    assert commands[0][-2:] == ["--world_model_from", str(other.run(there).path)]
    assert "--world_model_from" not in commands[1]
    begun = GridFolder(tmp_path / "grid").run(there)
    begun.path.mkdir(parents=True)
    begun.config_file.write_text("")
    launch(there, Slot(0, 1))  # stopped before it was copied
    assert commands[2][-2:] == commands[0][-2:]
    assert "--resume" in commands[2]


def test_modules_of_the_user_s_are_imported_by_every_run(tmp_path, monkeypatch):
    commands, option = [], ["--allow-import", "mine"]
    monkeypatch.setattr(grid_runner.subprocess, "Popen", lambda words, **_: commands.append(words))
    monkeypatch.setattr(user_modules, "_named", ["mine"])
    folder, (run,) = GridFolder(tmp_path), grid(("cheetah",), ("lawm",), (TENTH,), (0,))
    assert " ".join(option) in run.command()
    launcher(folder)(run, Slot(0, 1))
    folder.run(run).path.mkdir(parents=True)
    folder.run(run).config_file.write_text("")
    launcher(folder)(run, Slot(0, 1))
    assert "--resume" in commands[1]
    for words in commands:
        assert words.count("mine") == 1 and option == words[words.index("mine") - 1 :][:2]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_no_run_outlives_a_grid_that_is_killed(tmp_path):
    """The wrapper around `lawm` dies with who started it, whatever became of that one."""
    (tmp_path / "lawm_stand_in.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import os, subprocess, sys, time, runpy\n"
        "code = 'import runpy, sys, lawm.benchmarks.tethered_command as t; '\\\n"
        "  't.runpy.run_module = lambda *a, **k: runpy.run_path(\"lawm_stand_in.py\"); t.main()'\n"
        "subprocess.Popen([sys.executable, '-c', code, str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    pid_file = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid_file.is_file() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int(pid_file.read_text())
    process.kill()
    process.wait()
    while _is_alive(child):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
