"""The label-efficiency figures as tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lawm.benchmarks.interquartile_mean import Estimate
from lawm.benchmarks.label_efficiency import Cell, LabelEfficiency, title
from lawm.return_number import return_decimals

CAPTION = (
    "Interquartile mean over runs with its 95 % stratified-bootstrap interval. final: after the "
    "last update; selected: of the policy with the highest imagined reward; best: the best "
    "evaluation along the run, chosen by the environment; R²: of held-out actions."
)
_HEADS = ("method", "labels", "transitions", "runs", "final", "selected", "best", "R²")
_NARROW = ("method", "labels", "runs", "final", "best", "R²")  # 80 columns


def terminal_tables(result: LabelEfficiency) -> list[Table]:
    """One over all tasks, if any has an oracle, and one a task."""
    found = []
    for name, cells, digits in _parts(result):
        table = Table(title=name, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for head in _NARROW:
            table.add_column(head, justify="left" if head == "method" else "right", no_wrap=True)
        for cell in cells:
            texts = _texts(cell, digits)
            table.add_row(*(texts[head] for head in _NARROW))
        found.append(table)
    return found


def markdown(result: LabelEfficiency) -> str:
    """The same for a page."""
    blocks = []
    for name, cells, digits in _parts(result):
        lines = [f"| {' | '.join(_HEADS)} |", "|---|" + "---:|" * (len(_HEADS) - 1)]
        lines += [f"| {' | '.join(_texts(cell, digits).values())} |" for cell in cells]
        blocks.append(f"**{name}**\n\n" + "\n".join(lines))
    blocks.append(CAPTION)
    blocks += [f"- {remark}" for remark in result.remarks]
    return "\n\n".join(blocks) + "\n"


def _parts(result: LabelEfficiency) -> list[tuple[str, Sequence[Cell], int]]:
    """Title, cells, and decimal places."""
    found: list[tuple[str, Sequence[Cell], int]] = []
    if count := len(result.overall_tasks):
        what = "all tasks" if count > 1 else "one task"
        found.append((f"Return relative to the oracle, {what} ({count})", result.overall, 2))
    for stratum, cells in result.tasks.items():
        greatest = max(abs(cell.final.value) for cell in cells)
        digits = 0 if greatest >= 100.0 else return_decimals(greatest)
        found.append((f"Return, {title(stratum, result.tasks)}", cells, digits))
    return found


def _texts(cell: Cell, digits: int) -> dict[str, str]:
    transitions = "" if cell.transitions is None else f"{cell.transitions:,.0f}"
    texts = (
        cell.method,
        f"{100 * cell.fraction:.3g}%",
        transitions,
        str(cell.final.num_runs),
        _interval(cell.final, digits),
        _interval(cell.selected, digits),
        _interval(cell.best, digits),
        "" if cell.action_r2 is None else f"{cell.action_r2:.2f}",
    )
    return dict(zip(_HEADS, texts, strict=True))


def _interval(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return ""
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


__all__ = ["CAPTION", "markdown", "terminal_tables"]
