"""Table and plot of `lawm bench labels`, from rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from lawm.atomic_write import write_atomically
from lawm.benchmarks.grid_rows import GridRow, describe, read_rows
from lawm.benchmarks.label_efficiency import label_efficiency
from lawm.benchmarks.label_efficiency_tables import CAPTION, markdown, terminal_tables
from lawm.benchmarks.label_grid import RunKey
from lawm.errors import LawmError

NAME = "label_efficiency"


def merged_rows(files: Sequence[Path]) -> list[GridRow]:
    """The runs of several CSVs.

    Raises:
        LawmError: A file cannot be used, or two tell different things of one run.
    """
    found: dict[RunKey, tuple[GridRow, Path]] = {}
    for file in files:
        for row in read_rows(file):
            there, where = found.setdefault(row.key, (row, file))
            if there != row:
                raise LawmError(
                    f"{where} and {file} tell different things of one run, {describe(row.key)}. "
                    "Leave one of the files out, or delete the row that is not wanted."
                )
    return [row for row, _ in found.values()]


def show_and_save(rows: Iterable[GridRow], out: Path, console: Console) -> None:
    """Print the tables, and write them as Markdown and the plot as PNG and SVG.

    Args:
        rows: Of finished runs.
        out: Folder, made if need be.
        console: Where the tables are printed.
    """
    from lawm.benchmarks.label_efficiency_plot import save  # matplotlib takes a second

    result = label_efficiency(rows)
    if not result.tasks:
        _say(console, "No run has a final return yet: there is nothing to put into a table.")
        return
    for table in terminal_tables(result):
        console.print(table)
    for text in (CAPTION, *result.remarks):
        _say(console, text)
    page = out / f"{NAME}.md"
    write_atomically(page, markdown(result))
    plots = save(result, out / NAME)
    if not plots:
        _say(console, "No plot: labelled transitions are not known, or the oracle alone has run.")
    _say(console, f"Written: {', '.join(str(file) for file in (page, *plots))}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


__all__ = ["merged_rows", "show_and_save"]
