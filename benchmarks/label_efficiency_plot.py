"""The label-efficiency curve: return against labelled transitions, over all tasks and for each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.axes
import matplotlib.figure
from matplotlib.artist import Artist
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from lawm.atomic_write import atomic_file
from lawm.benchmarks.label_efficiency import Cell, LabelEfficiency, title
from lawm.benchmarks.label_grid import METHODS, ORACLE

COLOURS = {  # told apart with any colour vision (Okabe and Ito, "Color Universal Design", 2008)
    ORACLE: "#000000",
    "lawm": "#D55E00",
    "labelled_only": "#0072B2",
    "pseudo_label": "#009E73",
    "masked_action": "#CC79A7",
    "bc": "#E69F00",
    "bc_pseudo_label": "#56B4E9",
}
MARKERS = dict(zip(METHODS, "osD^vPX", strict=True))
SPREAD = 0.02  # methods stand beside each other: share of a decade between two
DPI = 150
LEGEND_ENTRY = 1.5  # inches, of the longest name of a method


def draw(result: LabelEfficiency) -> matplotlib.figure.Figure:
    """The figure: the aggregate large at the left, each task small beside it.

    Without an oracle there is no aggregate.

    Args:
        result: With at least one cell whose labelled transitions are known.
    """
    panels = [(title(stratum, result.tasks), cells) for stratum, cells in result.tasks.items()]
    has_overall = bool(result.overall)
    columns = min(3 if len(panels) > 4 else 2, len(panels))
    rows = math.ceil(len(panels) / columns)
    large = 5.2 if has_overall else 0.0
    figure = matplotlib.figure.Figure(
        figsize=(large + 2.8 * columns, max(2.6 * rows, 4.2) + 0.5), dpi=DPI, layout="constrained"
    )
    sides = figure.add_gridspec(1, 2, width_ratios=[large or 1e-3, 2.8 * columns])
    axes: list[matplotlib.axes.Axes] = []
    if has_overall:
        axis = figure.add_subplot(sides[0])
        count = len(result.overall_tasks)
        has_interval = any(cell.final.low is not None for cell in result.overall)
        shown = "IQM and 95 % interval" if has_interval else "IQM"
        axis.set_title(f"{count} task{'s' if count > 1 else ''}, {shown}")
        _panel(axis, result.overall, "return / oracle's return")
        axes.append(axis)
    grid = sides[1].subgridspec(rows, columns)
    for place, (name, cells) in enumerate(panels):
        axis = figure.add_subplot(grid[place // columns, place % columns])
        axis.set_title(name, fontsize=10)
        _panel(axis, cells, "return" if place % columns == 0 else "")
        axis.tick_params(labelsize=8)
        axes.append(axis)
    _legend(figure, axes)
    return figure


def save(result: LabelEfficiency, stem: Path) -> list[Path]:
    """Write the figure as PNG and SVG, each whole or not at all.

    Args:
        result: What to draw.
        stem: Path without the ending.

    Returns:
        The files; none if no row tells its labelled transitions.
    """
    if not any(cell.transitions for cell in _all_cells(result)):
        return []
    figure, files = draw(result), []
    for ending in ("png", "svg"):
        file = stem.with_suffix(f".{ending}")
        # Without date and random ids the same rows give the same file
        metadata = {"Date": None} if ending == "svg" else None
        with mpl.rc_context({"svg.hashsalt": "lawm"}), atomic_file(file) as out:
            figure.savefig(out, format=ending, metadata=metadata)
        files.append(file)
    return files


def _panel(axis: matplotlib.axes.Axes, cells: Sequence[Cell], y_label: str) -> None:
    methods = dict.fromkeys(cell.method for cell in cells)
    budgeted = [method for method in methods if method != ORACLE]
    ticks: dict[float, list[float]] = {}
    for number, method in enumerate(budgeted):
        points = [cell for cell in cells if cell.method == method and cell.transitions]
        shift = 10 ** (SPREAD * (number - (len(budgeted) - 1) / 2))
        _line(axis, method, points, shift)
        for cell in points:
            ticks.setdefault(cell.fraction, []).append(cell.transitions or 0.0)
    for cell in cells:
        if cell.method == ORACLE:
            _oracle_line(axis, cell)
    axis.set_xscale("log")
    _budget_ticks(axis, {share: sum(xs) / len(xs) for share, xs in ticks.items()})
    axis.set_xlabel("labelled transitions")
    axis.set_ylabel(y_label)
    low, high = axis.get_ylim()
    low = min(0.0, low)
    axis.set_ylim(low, high + 0.05 * (high - low))  # room for the markers at the top
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _line(axis: matplotlib.axes.Axes, method: str, points: Sequence[Cell], shift: float) -> None:
    colour = COLOURS.get(method, "#999999")
    x = [(cell.transitions or 0.0) * shift for cell in points]
    y = [cell.final.value for cell in points]
    is_ours = method == "lawm"
    axis.plot(
        x,
        y,
        color=colour,
        marker=MARKERS.get(method, "."),
        markersize=7 if is_ours else 5,
        linewidth=2.5 if is_ours else 1.3,
        zorder=3 if is_ours else 2,
        label=method,
    )
    for place, cell in zip(x, points, strict=True):
        if cell.final.low is not None and cell.final.high is not None:
            ends = [cell.final.low, cell.final.high]
            axis.plot([place, place], ends, color=colour, linewidth=1.2, alpha=0.7, zorder=1)


def _oracle_line(axis: matplotlib.axes.Axes, cell: Cell) -> None:
    final, colour = cell.final, COLOURS[ORACLE]
    axis.axhline(final.value, color=colour, linestyle="--", linewidth=1.2, label=ORACLE)
    if final.low is not None and final.high is not None:
        axis.axhspan(final.low, final.high, color=colour, alpha=0.07, linewidth=0)


def _budget_ticks(axis: matplotlib.axes.Axes, budgets: dict[float, float]) -> None:
    """A tick where a budget is, which says what share of the episodes that is."""
    places = sorted(budgets.items(), key=lambda item: item[1])
    if not places:
        return
    axis.xaxis.set_major_locator(FixedLocator([place for _, place in places]))
    axis.set_xticklabels([f"{place:,.0f}\n{100 * share:.3g} %" for share, place in places])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(places[0][1] / 1.6, places[-1][1] * 1.6)


def _legend(figure: matplotlib.figure.Figure, axes: Iterable[matplotlib.axes.Axes]) -> None:
    """One for all panels."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    names = [*(name for name in METHODS if name in entries), *(entries.keys() - set(METHODS))]
    figure.legend(
        handles=[entries[name] for name in names],
        labels=[name.replace("_", " ") for name in names],
        loc="outside lower center",
        ncols=min(len(names), max(1, int(figure.get_figwidth() / LEGEND_ENTRY))),
        frameon=False,
        fontsize=9,
    )


def _all_cells(result: LabelEfficiency) -> list[Cell]:
    return [cell for cells in result.tasks.values() for cell in cells if cell.method != ORACLE]


__all__ = ["COLOURS", "draw", "save"]
