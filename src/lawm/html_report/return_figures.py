"""Returns in the environment, and what the critic promised of them."""

from __future__ import annotations

import matplotlib.axes
import numpy as np

from lawm.html_report.run_files import Curve
from lawm.html_report.run_record import EvaluationRow, RunRecord
from lawm.html_report.svg_figure import (
    BAD,
    INK,
    PAPER,
    SERIES,
    Figure,
    new_figure,
    page_style,
    step_ticks,
    to_svg,
)
from lawm.return_number import return_number


def return_figure(run: RunRecord) -> Figure | None:
    """Return in the environment along stage 2; None before the first evaluation."""
    if not run.evaluations:
        return None
    with page_style():
        figure = new_figure(10.0, 4.4)
        axis = figure.add_subplot()
        draw_data_returns(axis, run.data_mean, run.data_best)
        for row in run.measured:
            steps = [float(row.step)] * len(row.returns)
            axis.plot(steps, row.returns, "o", color=SERIES[0], markersize=4, alpha=0.35)
        mean = mean_curve(run.measured)
        axis.plot(mean.steps, mean.values, "-o", color=SERIES[0], linewidth=2.4, markersize=6)
        for row in run.evaluations:
            if row.mean is None:
                axis.axvline(float(row.step), color=BAD, linewidth=1.2, linestyle=":")
        if run.best is not None and run.best.mean is not None:
            place = (float(run.best.step), run.best.mean)
            axis.annotate(
                f"best, {return_number(run.best.mean)}",
                place,
                xytext=(0, 11),
                textcoords="offset points",
                ha="center",
                fontweight="bold",
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )
        axis.set(xlabel="updates of the policy", ylabel="return of an episode")
        axis.xaxis.set_major_locator(step_ticks(8))
        axis.margins(x=0.08, y=0.1)
    failed = sum(row.mean is None for row in run.evaluations)
    caption = (
        "Line: mean return of the evaluation episodes, whose starts are the same every time; dots: "
        "single episodes. Good: the line ends near its best and above the data's mean. Bad: it "
        "rises and then falls, as the policy has found errors of the world model; or single "
        "episodes stay at the bottom, from starts it cannot recover from."
    )
    if failed:
        caption += f" Dotted vertical lines: {failed} evaluations that failed."
    return Figure("Return in the environment", to_svg(figure, "Return along training"), caption)


def draw_data_returns(axis: matplotlib.axes.Axes, mean: float | None, best: float | None) -> None:
    """The returns of the data as lines with their names."""
    for value, name, dash in ((best, "best", "--"), (mean, "mean", ":")):
        if value is None:
            continue
        axis.axhline(value, color=INK, linestyle=dash, linewidth=1.3)
        axis.annotate(
            f"{name} episode of the data, {return_number(value)}",
            (1.0, value),
            xycoords=axis.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=10,
        )


def mean_curve(rows: list[EvaluationRow]) -> Curve:
    """Mean return against policy updates."""
    known = [(row.step, row.mean) for row in rows if row.mean is not None]
    return Curve(
        np.array([float(step) for step, _ in known]), np.array([mean for _, mean in known])
    )


def promise_figure(run: RunRecord) -> Figure | None:
    """What the critic promised against what came; None without a critic's value."""
    rows = [
        row
        for row in run.measured
        if row.imagined_value is not None and row.discounted_return is not None
    ]
    if not rows:
        return None
    steps = [float(row.step) for row in rows]
    with page_style():
        figure = new_figure(10.0, 3.2)
        axis = figure.add_subplot()
        series = (
            ("what the critic promised at the start", [row.imagined_value for row in rows], 1),
            ("what came in the environment", [row.discounted_return for row in rows], 0),
        )
        keys = []
        for label, values, colour in series:
            axis.plot(steps, np.array(values, dtype=float), "-o", color=SERIES[colour])
            keys.append((label, SERIES[colour], "-"))
        axis.set(xlabel="updates of the policy", ylabel="discounted return")
        axis.xaxis.set_major_locator(step_ticks(8))
        axis.margins(x=0.05)
    caption = (
        "Means over the evaluation episodes. Good: the two lines meet. Bad: the promise lies far "
        "above the return and the gap grows: the policy exploits the world model. A promise below "
        "the return is caution, or a horizon that does not see far enough yet."
    )
    title = "Imagined value and true return"
    return Figure(title, to_svg(figure, title), caption, keys)


__all__ = ["draw_data_returns", "mean_curve", "promise_figure", "return_figure"]
