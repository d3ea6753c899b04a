"""The page of several runs."""

from __future__ import annotations

import os
import statistics
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from lawm.html_report.folder_figures import (
    action_r2_figure,
    by_environment,
    grouped,
    returns_figure,
)
from lawm.html_report.folder_record import FolderRecord
from lawm.html_report.page_file import render
from lawm.html_report.panel_table import panel_verdict
from lawm.html_report.pictures import Budget, Embedded, embed_picture
from lawm.html_report.run_page import commands
from lawm.html_report.run_record import RunRecord


@dataclass(frozen=True)
class RunRow:
    """A run in the table of runs."""

    run: RunRecord
    verdict: str
    final: float | None
    final_std: float | None
    best: float | None
    best_step: int | None
    normalised: float | None  # of the final policy: 0 the data's mean, 1 its best
    labelled: object
    action_free: object
    seed: object
    hours: float | None
    commit: str
    page: str  # address of its own page from this one, "" where there is none
    commands: list[tuple[str, str]]
    failed_evaluations: int


@dataclass(frozen=True)
class GroupRow:
    """Runs that differ in the seed alone."""

    name: str
    environment: str
    runs: int  # with a final evaluation
    final: float
    final_std: float | None  # sample standard deviation, None for one run
    lowest: float
    best: float
    action_r2: float | None


def folder_page(record: FolderRecord, out: Path) -> str:
    """The page as HTML.

    Args:
        record: What there is.
        out: Where the page will lie, for links to the runs' own pages.
    """
    budget = Budget()
    environments = by_environment(record.runs)
    figures = [returns_figure(name, runs) for name, runs in environments.items()]
    title = record.path.resolve().name if record.path else f"{len(record.runs)} runs"
    known = {run.name for run in record.runs}
    return render(
        "folder.html",
        {
            "title": title,
            "wide": True,
            "record": record,
            "rows": [_row(run, out) for run in record.runs],
            "groups": _groups(record.runs),
            "returns": [figure for figure in figures if figure],
            "action_r2": [
                figure
                for name, runs in environments.items()
                if (figure := action_r2_figure(name, runs))
            ],
            "plots": [_plot(path, budget) for path in record.plots],
            "lost": {name: error for name, error in record.attempts.items() if name not in known},
            "words": _words(record.runs),
        },
    )


def _row(run: RunRecord, out: Path) -> RunRow:
    final, best = run.final, run.best
    own = run.path / "report.html"
    start = run.starts[0] if run.starts else {}
    return RunRow(
        run=run,
        verdict=panel_verdict(run.panel)[0] if "world_model" in run.stages else "",
        final=final.mean if final else None,
        final_std=final.std if final else None,
        best=best.mean if best else None,
        best_step=best.step if best else None,
        normalised=final.normalised if final else None,
        labelled=run.data.get("labelled episodes"),
        action_free=run.data.get("action-free episodes"),
        seed=run.config.get("seed"),
        hours=None if run.seconds is None else run.seconds / 3600,
        commit=str(start.get("commit") or ""),
        page=_address(own, out) if own.is_file() else "",
        commands=commands(run),
        failed_evaluations=sum(row.mean is None for row in run.evaluations),
    )


def _groups(runs: list[RunRecord]) -> list[GroupRow]:
    """Of each group with a final return; the number of runs that it stands on is beside it."""
    rows = []
    for (environment, name), members in _by_group(runs).items():
        ended = [run for run in members if run.final is not None and run.final.mean is not None]
        finals = [run.final.mean for run in ended if run.final and run.final.mean is not None]
        if not finals:
            continue
        bests = [run.best.mean for run in ended if run.best and run.best.mean is not None]
        r2 = [run.action_r2 for run in ended if run.action_r2 is not None]
        rows.append(
            GroupRow(
                name=name,
                environment=environment,
                runs=len(finals),
                final=statistics.fmean(finals),
                final_std=statistics.stdev(finals) if len(finals) > 1 else None,
                lowest=min(finals),
                best=statistics.fmean(bests),
                action_r2=statistics.fmean(r2) if r2 else None,
            )
        )
    return rows


def _by_group(runs: list[RunRecord]) -> dict[tuple[str, str], list[RunRecord]]:
    return {
        (environment, name): members
        for environment, there in by_environment(runs).items()
        for name, members in grouped(there).items()
    }


def _words(runs: list[RunRecord]) -> list[tuple[str, int]]:
    """How many runs are in which state."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.status.word] = counts.get(run.status.word, 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])


def _plot(path: Path, budget: Budget) -> Embedded:
    size = path.stat().st_size
    if size > budget.left:
        return Embedded(path.name, "image", None, f"{path}: left out, as it is too large.")
    return embed_picture(path.name, path.read_bytes(), path.name, budget)


def _address(target: Path, page: Path) -> str:
    """From the page to a file, as part of an address."""
    relative = os.path.relpath(target.resolve(), page.resolve().parent)
    return "./" + urllib.parse.quote(relative)


__all__ = ["folder_page"]
