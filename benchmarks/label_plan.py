"""What is left to do of a label-efficiency grid, and how long it may take."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lawm.benchmarks.grid_folder import GridFolder
from lawm.benchmarks.grid_rows import GridRow
from lawm.benchmarks.label_grid import CLONING, GridRun, RunKey


@dataclass(frozen=True)
class Plan:
    """The runs of a grid by how far they are; each in one of the lists but ``begun``.

    Attributes:
        runs: All, in order.
        rows: Of the finished runs, by key.
        stale: Begun or finished with other settings, data or defaults than they would have now.
        todo: To be trained, in order.
        begun: Those of ``todo`` that go on from a checkpoint.
    """

    runs: list[GridRun]
    rows: dict[RunKey, GridRow]
    stale: list[GridRun]
    todo: list[GridRun]
    begun: list[GridRun]


def make_plan(
    runs: Sequence[GridRun],
    folder: GridFolder,
    written: Mapping[RunKey, GridRow],
    *,
    rerun_stale: bool,
) -> Plan:
    """Look at what is there.

    Args:
        runs: Of the grid, in order.
        folder: Of the grid.
        written: Rows of the CSV by key; a run in it need not be in the folder.
        rerun_stale: Whether stale runs are to do.
    """
    plan = Plan(list(runs), {}, [], [], [])
    for run in runs:
        state, row = folder.state(run), written.get(run.key)
        if state == "finished":
            plan.rows[run.key] = folder.row(run)
        elif row is not None and row.config_hash == run.config_hash:
            plan.rows[run.key] = row
        elif state == "stale" or row is not None:
            plan.stale.append(run)
            if rerun_stale:
                plan.todo.append(run)
        else:
            plan.todo.append(run)
            if state == "begun":
                plan.begun.append(run)
    return plan


def estimated_hours(run: GridRun, finished: Iterable[GridRow]) -> float | None:
    """Hours of a run by those of the finished ones that are most like it; None without any.

    A cloned policy tells nothing of a run that trains a world model; the other way about it is a
    bound.
    """
    known = [row for row in finished if row.hours is not None]
    if run.method not in CLONING:
        known = [row for row in known if row.method not in CLONING]
    kinds = (
        lambda row: (row.task, row.method) == (run.task.name, run.method),
        lambda row: row.method == run.method,
        lambda row: row.task == run.task.name,
        lambda row: True,
    )
    for kind in kinds:
        if hours := [row.hours for row in known if kind(row) and row.hours is not None]:
            return statistics.fmean(hours)
    return None


def remaining_hours(
    todo: Sequence[GridRun], finished: Sequence[GridRow], jobs: int
) -> float | None:
    """Hours until all are finished, so many at a time; None if nothing tells."""
    hours = [estimated_hours(run, finished) for run in todo]
    if None in hours:
        return None
    known = [hour for hour in hours if hour is not None]
    return max([sum(known) / jobs, *known], default=0.0)


def plan_table(plan: Plan, finished: Sequence[GridRow], jobs: int) -> Table:
    """A line a method and budget, over all tasks and seeds."""
    title = f"{len(plan.runs)} runs, {len(plan.todo)} to do, {jobs} at a time"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("method", no_wrap=True)
    for name in ("labelled", "runs", "finished", "begun", "stale", "to do", "hours"):
        table.add_column(name, justify="right")
    for method, fraction in dict.fromkeys((run.method, run.fraction) for run in plan.runs):
        group = [run for run in plan.runs if (run.method, run.fraction) == (method, fraction)]
        todo = [run for run in group if run in plan.todo]
        table.add_row(
            method,
            f"{float(fraction * 100):g}%",
            str(len(group)),
            str(sum(run.key in plan.rows for run in group)),
            str(sum(run in plan.begun for run in group)),
            str(sum(run in plan.stale for run in group)),
            str(len(todo)),
            hours_text(remaining_hours(todo, finished, 1)),
        )
    total = remaining_hours(plan.todo, finished, jobs)
    if total is None:
        table.caption = "Hours are not known: no run of this kind is finished yet."
    elif plan.todo:
        table.caption = (
            f"About {hours_text(total)} hours with {jobs} at a time, by the finished runs most "
            "like them."
        )
    table.caption_justify = "left"
    return table


def hours_text(hours: float | None) -> str:
    """With one decimal place, or two below an hour."""
    return "?" if hours is None else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


__all__ = ["Plan", "estimated_hours", "hours_text", "make_plan", "plan_table", "remaining_hours"]
