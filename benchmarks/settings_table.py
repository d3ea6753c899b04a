"""Runs with one setting changed beside the same runs with the defaults, as a Markdown table.

    python -m lawm.benchmarks.settings_table GRID.csv results/settings/*.csv

A line a file: the mean return on each task, and in brackets that of the same method, budget and
seeds in the first file; then both over the oracles of the first file, interquartile mean of these
runs; then the mean held-out R² of the action. Runs that the first file lacks are left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lawm.benchmarks.grid_rows import GridRow, read_rows
from lawm.benchmarks.interquartile_mean import interquartile_mean
from lawm.benchmarks.label_grid import ORACLE
from lawm.errors import LawmError

Figure = Callable[[GridRow], float | None]
Summary = Callable[[Sequence[float]], float]


def settings_table(defaults: Sequence[GridRow], settings: Mapping[str, Sequence[GridRow]]) -> str:
    """The table.

    Args:
        defaults: Rows of a grid, with its oracles.
        settings: By the name of a line, rows of the same runs with something changed.

    Raises:
        LawmError: A line has no run in common with the defaults, or a task no oracle.
    """
    by_key = {row.key: row for row in defaults}
    lines = {
        name: [(row, by_key[row.key]) for row in rows if row.key in by_key]
        for name, rows in settings.items()
    }
    if empty := [name for name, pairs in lines.items() if not pairs]:
        raise LawmError(
            f"{', '.join(empty)}: no run of the same task, data, method, budget and seed is among "
            "the defaults, so there is nothing to compare with."
        )
    compared = [row for pairs in lines.values() for row, _ in pairs]
    tasks = list(dict.fromkeys(row.task for row in compared))
    strata = dict.fromkeys((row.task, row.data) for row in compared)
    oracles = {stratum: _oracle(*stratum, defaults) for stratum in strata}

    def relative(row: GridRow) -> float | None:
        return None if row.return_final is None else row.return_final / oracles[row.task, row.data]

    heads = ["", *tasks, "of the oracle", "R²", "runs"]
    table = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, pairs in lines.items():
        cells = [
            _beside(
                [pair for pair in pairs if pair[0].task == task],
                lambda row: row.return_final,
                statistics.fmean,
                digits=0,
            )
            for task in tasks
        ]
        cells.append(_beside(pairs, relative, interquartile_mean, digits=2))
        cells.append(_beside(pairs, lambda row: row.action_r2, statistics.fmean, digits=2))
        table.append(f"| {name} | {' | '.join(cells)} | {len(pairs)} |")
    return "\n".join(table) + "\n"


def _oracle(task: str, data: str, rows: Sequence[GridRow]) -> float:
    of_task = [row for row in rows if (row.task, row.data, row.method) == (task, data, ORACLE)]
    known = [row.return_final for row in of_task if row.return_final is not None]
    if not known or interquartile_mean(known) <= 0.0:
        raise LawmError(
            f"among the defaults there is no oracle of {task} on {data} with a return above 0; "
            "returns are divided by the oracle's."
        )
    return interquartile_mean(known)


def _beside(
    pairs: Sequence[tuple[GridRow, GridRow]], figure: Figure, summary: Summary, *, digits: int
) -> str:
    both = [(figure(here), figure(there)) for here, there in pairs]
    known = [(here, there) for here, there in both if here is not None and there is not None]
    if not known:
        return ""
    here, there = (summary(values) for values in zip(*known, strict=True))
    return f"{here:.{digits}f} ({there:.{digits}f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "defaults", type=Path, metavar="CSV", help="of `lawm bench labels`, with oracles"
    )
    parser.add_argument(
        "settings",
        type=Path,
        nargs="+",
        metavar="CSV",
        help="of the same with a --set, a line each",
    )
    args = parser.parse_args(argv)
    try:
        rows = {path.stem: read_rows(path) for path in args.settings}
        print(settings_table(read_rows(args.defaults), rows), end="")
    except LawmError as error:
        raise SystemExit(f"lawm: {error}") from error


if __name__ == "__main__":
    main()


__all__ = ["main", "settings_table"]
