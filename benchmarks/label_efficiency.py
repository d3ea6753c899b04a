"""Rows of a grid to the figures of the label-efficiency table and plot.

Returns are divided by the oracle's interquartile mean on the same task and data. That divisor is
taken as known: its own uncertainty is the oracle's interval, not part of the others'.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lawm.benchmarks.grid_rows import GridRow
from lawm.benchmarks.interquartile_mean import Estimate, estimate, interquartile_mean
from lawm.benchmarks.label_grid import METHODS, ORACLE

Stratum = tuple[str, str]  # task and data
Score = Callable[[GridRow, float | None], float | None]  # a return of a row, on a common scale


@dataclass(frozen=True)
class Cell:
    """The runs of a method with one label budget, on one task or on all.

    Attributes:
        method: Which.
        fraction: Labelled, as asked for.
        transitions: Labelled ones, mean over runs; None if the rows do not tell.
        tasks: How many tasks there are runs of.
        final: After the last update.
        selected: Of the policy that was selected offline; None if no run has one.
        best: The best along the run.
        action_r2: Mean over runs, None if no run has it.
    """

    method: str
    fraction: float
    transitions: float | None
    tasks: int
    final: Estimate
    selected: Estimate | None
    best: Estimate | None
    action_r2: float | None


@dataclass(frozen=True)
class LabelEfficiency:
    """What a table and a plot show.

    Attributes:
        tasks: Cells of each task and data set, in returns.
        overall: Cells over all tasks that have an oracle, relative to it; empty if none has.
        overall_tasks: Those tasks.
        remarks: What a reader must know, in sentences.
    """

    tasks: dict[Stratum, list[Cell]]
    overall: list[Cell]
    overall_tasks: list[Stratum]
    remarks: list[str]


def label_efficiency(rows: Iterable[GridRow]) -> LabelEfficiency:
    """Summarise runs.

    Args:
        rows: Of the runs; those without a final return are counted in the remarks alone.
    """
    given = list(rows)
    rows = [row for row in given if row.return_final is not None]
    by_task: dict[Stratum, list[GridRow]] = {}
    for row in sorted(rows, key=lambda row: (row.task, row.data)):
        by_task.setdefault((row.task, row.data), []).append(row)
    oracles = {stratum: _oracle(group) for stratum, group in by_task.items()}
    scales = {stratum: scale for stratum, scale in oracles.items() if scale is not None}
    overall = [row for row in rows if (row.task, row.data) in scales]

    def relative(row: GridRow, value: float | None) -> float | None:
        return None if value is None else value / scales[row.task, row.data]

    cells = _cells(overall, relative)
    return LabelEfficiency(
        tasks={
            stratum: _cells(group, lambda row, value: value) for stratum, group in by_task.items()
        },
        overall=cells,
        overall_tasks=list(scales),
        remarks=_remarks(given, rows, by_task, scales, cells),
    )


def title(stratum: Stratum, strata: Iterable[Stratum]) -> str:
    """The task, with its data where that is needed to tell two apart."""
    task, data = stratum
    twins = [other for other in strata if other[0] == task]
    return f"{task} ({data})" if len(twins) > 1 else task


def _oracle(rows: Sequence[GridRow]) -> float | None:
    """What returns of a task are divided by; None without an oracle that earned something."""
    returns = [row.return_final for row in rows if row.method == ORACLE]
    known = [value for value in returns if value is not None]
    scale = interquartile_mean(known) if known else 0.0
    return scale if scale > 0 else None


def _cells(rows: Sequence[GridRow], score: Score) -> list[Cell]:
    groups: dict[tuple[str, float], list[GridRow]] = {}
    for row in sorted(rows, key=lambda row: (_rank(row.method), row.labelled_fraction)):
        groups.setdefault((row.method, row.labelled_fraction), []).append(row)
    found = []
    for (method, fraction), group in groups.items():
        measured = _estimate(group, lambda row: score(row, row.return_final))
        assert measured is not None, "rows without a final return are left out before"
        transitions = [row.labelled_transitions for row in group]
        known = [count for count in transitions if count is not None]
        r2 = [row.action_r2 for row in group if row.action_r2 is not None]
        found.append(
            Cell(
                method,
                fraction,
                statistics.fmean(known) if len(known) == len(group) else None,
                len({(row.task, row.data) for row in group}),
                measured,
                _estimate(group, lambda row: score(row, row.return_selected)),
                _estimate(group, lambda row: score(row, row.return_best)),
                statistics.fmean(r2) if r2 else None,
            )
        )
    return found


def _estimate(
    rows: Sequence[GridRow], value_of: Callable[[GridRow], float | None]
) -> Estimate | None:
    strata: dict[Stratum, list[float]] = {}
    for row in rows:
        value = value_of(row)
        if value is not None:
            strata.setdefault((row.task, row.data), []).append(value)
    return estimate(list(strata.values())) if strata else None


def _remarks(
    given: Sequence[GridRow],
    rows: Sequence[GridRow],
    by_task: dict[Stratum, list[GridRow]],
    scales: dict[Stratum, float],
    overall: Sequence[Cell],
) -> list[str]:
    found = []
    if missing := len(given) - len(rows):
        found.append(f"{missing} run(s) have no final return and are left out.")
    without = [title(stratum, by_task) for stratum in by_task if stratum not in scales]
    if without:
        names = ", ".join(without)
        found.append(f"No oracle to compare with, so not in the figures over all tasks: {names}.")
    partial = [cell for cell in overall if cell.tasks < len(scales)]
    if partial:
        names = ", ".join(f"{c.method} {c.fraction:.4g} ({c.tasks})" for c in partial)
        found.append(f"Runs of fewer than {len(scales)} tasks, do not compare: {names}.")
    if any(cell.final.low is None for cell in overall):
        found.append("No interval where a task has a single run.")
    mixed = sorted(
        {
            f"{row.task} {row.method} {row.labelled_fraction:.4g}"
            for row in rows
            if len({o.config_hash for o in rows if _same_cell(o, row) and o.config_hash}) > 1
        }
    )
    if mixed:
        found.append(f"Runs of different configurations in one cell: {', '.join(mixed)}.")
    return found


def _same_cell(one: GridRow, other: GridRow) -> bool:
    first, second = (
        (row.task, row.data, row.method, row.labelled_fraction) for row in (one, other)
    )
    return first == second


def _rank(method: str) -> tuple[int, str]:
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)


__all__ = ["Cell", "LabelEfficiency", "Stratum", "label_efficiency", "title"]
