"""Curves of several runs in one figure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lawm.html_report.return_figures import draw_data_returns, mean_curve
from lawm.html_report.run_files import Curve, part
from lawm.html_report.run_record import RunRecord
from lawm.html_report.svg_figure import (
    DASHES,
    SERIES,
    Figure,
    Line,
    draw,
    new_figure,
    page_style,
    step_ticks,
    to_svg,
)

_DATE = r"(?<![^/])\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"  # of a run folder that was not named
_SEED = re.compile(rf"([-_](?:s|seed)?\d+|{_DATE})$")
_NO_SETTINGS = ("seed", "policy_seed", "name", "compile", "threads")
_NO_DATA = ("label_seed", "storage", "workers", "cache_dir", "verify")
Looks = Mapping[str, tuple[str, str]]  # group to colour and dash


def grouped(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs that differ in the seed alone, by their name without it, in the order they come.

    Where other settings differ as well a number at the end of a name is no seed: those that are
    alike bear the name of the first of them.
    """
    alike: dict[str, list[list[RunRecord]]] = {}
    for run in runs:
        groups = alike.setdefault(_SEED.sub("", run.name).strip("/") or "runs", [])
        like = [g for g in groups if _without_seeds(g[0]) == _without_seeds(run)]
        if like:
            like[0].append(run)
        else:
            groups.append([run])
    return {
        name if len(groups) == 1 else members[0].name: members
        for name, groups in alike.items()
        for members in groups
    }


def _without_seeds(run: RunRecord) -> dict[str, Any]:
    config = {key: value for key, value in run.config.items() if key not in _NO_SETTINGS}
    data = {key: value for key, value in part(config, "data").items() if key not in _NO_DATA}
    return config | {"data": data}


def by_environment(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs whose returns may be compared."""
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        found[run.environment].append(run)
    return dict(found)


def looks_of(runs: Sequence[RunRecord]) -> Looks:
    """A colour for each group; beyond eight groups the dashes differ."""
    looks = {}
    for place, group in enumerate(grouped(runs)):
        dash = DASHES[place // len(SERIES) % len(DASHES)]
        looks[group] = (SERIES[place % len(SERIES)], dash)
    return looks


def returns_figure(environment: str, runs: Sequence[RunRecord]) -> Figure | None:
    """Evaluation returns against policy updates; None where none was measured."""
    caption = (
        "Thin: single runs; bold: the mean of the runs that differ in the seed alone, at the "
        "updates that all of them have. Good: high, and ending near its best. Bad: a rise and then "
        "a fall, or seeds that disagree: then the mean stands on luck."
    )
    title = f"Return in {environment or 'an unknown environment'}"
    return _overlay(
        title, runs, lambda run: mean_curve(run.measured), "policy", "mean return", caption, True
    )


def action_r2_figure(environment: str, runs: Sequence[RunRecord]) -> Figure | None:
    """Held-out R² of the action against world-model updates; None where none was logged."""

    def curve(run: RunRecord) -> Curve | None:
        return run.curves("world_model").get("held_out/action_r2_inverse")

    caption = (
        "On held-out labelled trajectories, decoded from latent actions inferred from observations "
        "alone. Good: near 1. Bad: below 0.4, or falling: over-fit of the few labels."
    )
    title = f"R² of the action in {environment or 'an unknown environment'}"
    return _overlay(title, runs, curve, "world model", "R²", caption, False)


def _overlay(
    title: str,
    runs: Sequence[RunRecord],
    curve_of: Callable[[RunRecord], Curve | None],
    stage: str,
    y_label: str,
    caption: str,
    with_data: bool,
) -> Figure | None:
    looks, keys = looks_of(runs), []
    with page_style():
        figure = new_figure(10.0, 4.6)
        axis = figure.add_subplot()
        for group, members in grouped(runs).items():
            found = [curve for run in members if (curve := curve_of(run)) and len(curve.steps)]
            if not found:
                continue
            colour, dash = looks[group]
            count = f", {len(found)} runs" if len(found) > 1 else ""
            keys.append((f"{group}{count}", colour, dash))
            for curve in found:
                width, alpha = (1.0, 0.45) if len(found) > 1 else (2.4, 1.0)
                draw(axis, Line("", curve, colour, dash), width, alpha)
            if len(found) > 1:
                draw(axis, Line("", mean_of(found), colour, dash), 2.8)
        if not keys:
            return None
        if with_data:
            means, bests = ({run.data_mean for run in runs}, {run.data_best for run in runs})
            if len(means) == 1 and len(bests) == 1:  # else the data differ
                draw_data_returns(axis, means.pop(), bests.pop())
        axis.set(xlabel=f"updates of the {stage}", ylabel=y_label)
        axis.xaxis.set_major_locator(step_ticks(8))
    return Figure(title, to_svg(figure, title), caption, keys)


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Mean at the steps that all curves have."""
    values = [dict(zip(c.steps.tolist(), c.values.tolist(), strict=True)) for c in curves]
    shared = sorted(set.intersection(*(set(value) for value in values)))
    means = [float(np.mean([value[step] for value in values])) for step in shared]
    return Curve(np.array(shared), np.array(means))


__all__ = [
    "action_r2_figure",
    "by_environment",
    "grouped",
    "mean_of",
    "returns_figure",
]
