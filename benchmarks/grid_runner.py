"""Runs many `lawm fit` side by side, each on its own cores or GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lawm.benchmarks.grid_folder import GridFolder
from lawm.benchmarks.label_grid import GridRun
from lawm.stop_signals import TRY_AGAIN
from lawm.user_modules import allow_import_options

POLL_S = 0.2
GRACE_S = 120.0  # for a run to finish its step and save; what is killed goes on from before that


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time."""

    number: int
    threads: int
    gpu: str | None = None  # as in CUDA_VISIBLE_DEVICES

    def environment(self) -> dict[str, str]:
        """What a run here finds in its environment."""
        chosen = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        return {**os.environ, **chosen}


class Process(Protocol):
    """The part of ``subprocess.Popen`` that is needed."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def terminate(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Active:
    """A run that is being trained."""

    run: GridRun
    slot: Slot
    process: Process
    began: float  # of time.monotonic


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    run: GridRun
    error: str  # a line; empty if it was finished
    seconds: float


class Observer(Protocol):
    """Is told what happens."""

    def began(self, active: Active) -> None:
        """A run was started."""

    def ended(self, ending: Ending) -> None:
        """A run was finished or failed."""

    def waited(self, active: Sequence[Active]) -> None:
        """A moment has passed."""


Launch = Callable[[GridRun, Slot], Process]


def run_grid(
    runs: Sequence[GridRun],
    slots: Sequence[Slot],
    launch: Launch,
    explain: Callable[[GridRun, int], str],
    observer: Observer,
    is_stopped: Callable[[], bool],
    poll_s: float = POLL_S,
) -> None:
    """Train the runs in their order, as many at a time as there are slots.

    A run that fails does not keep the others from going on.

    Args:
        runs: In the order in which they start.
        slots: Where.
        launch: Starts a run.
        explain: Why a run ended with this exit code, in a line; empty if it is finished.
        observer: Is told.
        is_stopped: Whether to stop. The active runs are then asked to save; they are not told to
            the observer, as they neither failed nor are finished.
        poll_s: Seconds between two looks.
    """
    waiting, free = list(runs), list(slots)
    active: list[Active] = []
    try:
        while (waiting or active) and not is_stopped():
            while waiting and free:
                run, slot = waiting.pop(0), free.pop(0)
                active.append(Active(run, slot, launch(run, slot), time.monotonic()))
                observer.began(active[-1])
            for one in list(active):
                if (code := one.process.poll()) is not None:
                    active.remove(one)
                    free.append(one.slot)
                    if not is_stopped():
                        seconds = time.monotonic() - one.began
                        observer.ended(Ending(one.run, explain(one.run, code), seconds))
            observer.waited(active)
            if active:
                time.sleep(poll_s)
    finally:
        _stop(active, poll_s)


def make_slots(
    jobs: int | None, threads: int | None, gpus: Sequence[str], cores: int
) -> list[Slot]:
    """Where runs go.

    Args:
        jobs: Runs at a time; None takes one a GPU, or without GPUs as many as the cores allow.
        threads: Of each run; None takes 1, beside GPUs its share of the cores.
        gpus: Those that may be used, as in CUDA_VISIBLE_DEVICES; empty to use none.
        cores: That this process may use.
    """
    count = jobs or len(gpus) or max(cores // (threads or 1), 1)
    each = threads or (max(cores // count, 1) if gpus else 1)
    return [
        Slot(number, each, gpus[number % len(gpus)] if gpus else None) for number in range(count)
    ]


def launcher(
    folder: GridFolder,
    world_models: GridFolder | None = None,
    environment: Mapping[str, str] | None = None,
) -> Launch:
    """Starts runs as processes that write to their log; begun ones go on where they were.

    Args:
        folder: Of the grid.
        world_models: Another grid, whose finished world models are taken instead of trained.
        environment: Beyond that of this process.
    """

    def launch(run: GridRun, slot: Slot) -> Process:
        run_folder, log = folder.run(run), folder.log(run)
        words = ["--threads", str(slot.threads)]
        if run_folder.config_file.is_file():
            words = ["--resume", str(run_folder.path), *words, *allow_import_options()]
        else:
            words = [*run.arguments(), *words, "--run_dir", str(run_folder.path)]
        if world_models is not None and world_models.has_world_model(run):
            words += ["--world_model_from", str(world_models.run(run).path)]
        log.parent.mkdir(parents=True, exist_ok=True)
        module = "lawm.benchmarks.tethered_command"
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module, str(os.getpid()), "fit", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**slot.environment(), **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the grid, which asks its runs to save
            )

    return launch


def why_it_ended(folder: GridFolder, run: GridRun, code: int) -> str:
    """A line on a run that ended; empty if it is finished."""
    if code == 0 and folder.run(run).report_file.is_file():
        return ""
    if code == TRY_AGAIN:
        return "a signal that did not come from the grid stopped it; it is saved"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    return _last_line(folder.log(run)) or f"exit code {code}"


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    ours = [line for line in told if line.startswith("lawm: error: ")]
    return (ours or told or [""])[-1].removeprefix("lawm: error: ")


def _stop(active: Sequence[Active], poll_s: float) -> None:
    """Let runs save and end; end those that take too long, also when this is interrupted again."""
    for one in active:
        one.process.terminate()
    deadline = time.monotonic() + GRACE_S
    try:
        while any(one.process.poll() is None for one in active) and time.monotonic() < deadline:
            time.sleep(poll_s)
    finally:
        for one in active:
            if one.process.poll() is None:
                one.process.kill()


__all__ = [
    "Active",
    "Ending",
    "Launch",
    "Observer",
    "Process",
    "Slot",
    "launcher",
    "make_slots",
    "run_grid",
    "why_it_ended",
]
