"""`lawm bench labels`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import lawm
from lawm.benchmarks.grid_display import GridDisplay
from lawm.benchmarks.grid_folder import GridFolder, RunRecord
from lawm.benchmarks.grid_rows import GridRow, read_rows, write_rows
from lawm.benchmarks.grid_runner import (
    Active,
    Ending,
    Launch,
    Process,
    Slot,
    launcher,
    run_grid,
    why_it_ended,
)
from lawm.benchmarks.label_grid import GridRun, RunKey
from lawm.benchmarks.label_plan import Plan, make_plan, plan_table
from lawm.cli.label_bench_plan import read_grid
from lawm.cli.label_bench_results import merged_rows, show_and_save
from lawm.cli.label_bench_slots import find_slots, read_jobs
from lawm.errors import LawmError
from lawm.folder_lock import alone_in
from lawm.provenance import machine, source_commit
from lawm.run_lock import RunLock
from lawm.stop_signals import StopRun, StopSignals

FAILED = 1
_OTHERS_SAVE_S = 120.0  # how long runs of a grid that was killed may take to save and end


def run_label_bench(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 1 if runs failed, 75 or 130 if a signal stopped it.

    Raises:
        LawmError: Something is wrong with what the user gave.
    """
    console = Console()
    if args.sources:
        _check_alone(args)
        show_and_save(merged_rows(args.sources), args.out, console)
        return 0
    folder = GridFolder(args.out)
    other = _other_grid(args.world_models_from)
    file = args.csv or folder.csv
    written = _rows_in(file)
    folder.check()
    jobs = read_jobs(args.jobs)
    grid = read_grid(args)
    slots = find_slots(jobs, args.threads, uses_cuda=grid.uses_cuda)
    plan = make_plan(grid.runs, folder, written, rerun_stale=args.rerun_stale)
    console.print(plan_table(plan, list({**written, **plan.rows}.values()), len(slots)))
    _tell_stale(plan, args, console)
    if args.dry_run:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        shared = [*map(str, args.preset), *args.settings]
        tasks = {run.task.name: str(run.task.config) for run in grid.runs}
        folder.claim(tasks, shared, change=args.rerun_stale)
        launch = launcher(folder, other)
        training = _Training(folder, file, written, plan, console, slots, launch)
        code = training.train()
        show_and_save(training.rows_of_the_plan(), args.out, console)
        training.tell()
    return code


class _Training:
    """Trains what is left to do and keeps the CSV up to date."""

    def __init__(
        self,
        folder: GridFolder,
        file: Path,
        written: dict[RunKey, GridRow],
        plan: Plan,
        console: Console,
        slots: Sequence[Slot],
        launch: Launch,
    ) -> None:
        self._folder, self._file, self._plan, self._console = folder, file, plan, console
        self._rows = {**written, **plan.rows}
        self._slots, self._launch = slots, launch
        gpus = sum(slot.gpu is not None for slot in slots)
        self._made_with = {
            "commit": source_commit(),
            "version": lawm.__version__,
            "machine": _machine_name(gpus),
        }
        self._failed: list[Ending] = []
        self._display = GridDisplay(
            console, folder, plan.todo, len(slots), list(self._rows.values())
        )

    def train(self) -> int:
        """Run all that is to do; returns the exit code."""
        self._write()
        stop = StopSignals()
        try:
            with stop, self._display:
                stop.is_deferred = True
                _wait_for_others([self._folder.run(run).lock_file for run in self._plan.begun])
                run_grid(
                    self._plan.todo,
                    self._slots,
                    self._start,
                    lambda run, code: why_it_ended(self._folder, run, code),
                    self,
                    lambda: stop.requested is not None,
                )
                if stop.requested is not None:
                    raise StopRun(stop.requested)
        except StopRun as stopped:
            self._console.print(f"Stopped by {stopped}. The same command goes on.")
            return stopped.exit_code
        return FAILED if self._failed else 0

    def rows_of_the_plan(self) -> list[GridRow]:
        """Of its finished runs; stale ones are left out."""
        return [self._rows[run.key] for run in self._plan.runs if self._is_current(run)]

    def tell(self) -> None:
        """Say what failed, and where the rows are."""
        for ending in self._failed:
            self._say(
                f"{ending.run.label} failed: {ending.error} (log: {self._folder.log(ending.run)})"
            )
        if self._failed:
            count = len(self._failed)
            self._say(
                f"{count} run{'s' if count > 1 else ''} failed; the same command tries "
                f"{'them' if count > 1 else 'it'} again."
            )
        self._say(f"Rows: {self._file}")

    def began(self, active: Active) -> None:
        """Pass it on."""
        self._display.began(active)

    def ended(self, ending: Ending) -> None:
        """Write the row, or note the failure."""
        run, row = ending.run, None
        if ending.error:
            self._failed.append(ending)
            record = self._folder.record(run)
            assert record is not None
            self._folder.write_record(run, _with_error(record, ending.error))
        else:
            row = self._rows[run.key] = self._folder.row(run)
            self._write()
        self._display.ended(ending, row, list(self._rows.values()))

    def waited(self, active: Sequence[Active]) -> None:
        """Pass it on."""
        self._display.waited(active)

    def _start(self, run: GridRun, slot: Slot) -> Process:
        state = self._folder.state(run)
        if state == "stale":
            self._say(f"{run.label}: the stale run is now {self._folder.set_aside(run)}")
        if state == "begun":
            record = self._folder.record(run)
            assert record is not None
        else:
            record = RunRecord(
                config_hash=run.config_hash, command=run.command(), **self._made_with
            )
        self._folder.write_record(run, _with_error(record, ""))
        return self._launch(run, slot)

    def _is_current(self, run: GridRun) -> bool:
        row = self._rows.get(run.key)
        return row is not None and row.config_hash == run.config_hash

    def _write(self) -> None:
        """Rows of other grids that came into the file meanwhile stay."""
        mine = {run.key: self._rows[run.key] for run in self._plan.runs if self._is_current(run)}
        with alone_in(self._file.parent):
            self._rows = {**_rows_in(self._file), **mine}
            write_rows(self._file, self._rows.values())

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _rows_in(file: Path) -> dict[RunKey, GridRow]:
    """By key; none if there is no file yet."""
    return {row.key: row for row in read_rows(file, all_columns=True)} if file.exists() else {}


def _with_error(record: RunRecord, error: str) -> RunRecord:
    return RunRecord(**{**vars(record), "error": error})


def _check_alone(args: argparse.Namespace) -> None:
    given = [
        option
        for option, value in (
            ("--config", args.config),
            ("--set", args.settings),
            ("--preset", args.preset),
            ("--csv", args.csv),
            ("--world-models-from", args.world_models_from),
            ("--dry-run", args.dry_run),
            ("--allow-import", args.allow_import),
            ("--rerun-stale", args.rerun_stale),
        )
        if value
    ]
    if given:
        raise LawmError(
            f"--from makes table and plot of finished runs and trains nothing; {', '.join(given)} "
            "means nothing beside it. Leave it out, or leave out --from."
        )


def _other_grid(path: Path | None) -> GridFolder | None:
    if path is not None and not path.is_dir():
        raise LawmError(
            f"--world-models-from {path} is no folder; expected the --out of another grid."
        )
    return None if path is None else GridFolder(path)


def _tell_stale(plan: Plan, args: argparse.Namespace, console: Console) -> None:
    if not plan.stale:
        return
    what = f"{len(plan.stale)} run(s) were made with other settings, data or defaults"
    fate = (
        "they are trained anew, and the old run folders kept"
        if args.rerun_stale
        else "they are left as they are and not counted; --rerun-stale trains them anew"
    )
    names = ", ".join(run.label for run in plan.stale[:5])
    more = " …" if len(plan.stale) > 5 else ""
    console.print(f"{what}: {names}{more}; {fate}.", markup=False, soft_wrap=True)


def _machine_name(num_gpus: int) -> str:
    """The GPUs if any are used, else the processor."""
    here = machine()
    return str(here["gpus"][0] if num_gpus and here["gpus"] else here["processor"])


def _lock(folder: GridFolder) -> RunLock:
    return RunLock(folder.lock)


def _wait_for_others(locks: Sequence[Path]) -> None:
    """Runs of a grid that was killed save and end by themselves; do not go on before that."""
    deadline = time.monotonic() + _OTHERS_SAVE_S
    for lock in locks:
        while lock.is_file() and lock.read_text() and time.monotonic() < deadline:
            try:
                with RunLock(lock):
                    break
            except LawmError:
                time.sleep(0.5)


__all__ = ["run_label_bench"]
