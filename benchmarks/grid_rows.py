"""Rows of a label-efficiency grid: from the report of a run, to a CSV and back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from lawm.atomic_write import write_atomically
from lawm.benchmarks.label_grid import METHODS, RunKey
from lawm.errors import LawmError

_ACTION_R2 = (
    ("world_model", "held_out/action_r2_inverse"),
    ("inverse_dynamics", "held_out/action_r2"),
)
NEEDED = ("task", "method", "labelled_fraction", "seed", "return_final")


@dataclass(frozen=True)
class GridRow:
    """One run; what is not known is None, in the file an empty cell.

    Attributes:
        task: Stem of the task's configuration.
        data: Stems of the shards.
        method: Stem of the preset; ``lawm`` has none.
        labelled_fraction: Share of the episodes that was to be labelled, in (0, 1].
        labelled_episodes: How many were.
        labelled_transitions: Their steps.
        seed: Of the run and of the choice of labels.
        return_final: Mean return of the evaluation after the last update.
        return_final_std: Its standard deviation over episodes.
        episodes: Of that evaluation.
        return_selected: Of the policy that was selected offline, by imagined reward; empty for
            methods without a world model.
        step_selected: When that was, in policy updates.
        return_best: The highest mean return of the evaluations along the run.
        step_best: When that was, in policy updates.
        action_r2: R² of held-out actions decoded from the inverse posterior; without a world model
            of those from inverse dynamics.
        verdict: Of the latent-action panel.
        data_mean: Mean return of the training episodes.
        data_best: Their best return.
        hours: Training and evaluation, summed over resumes.
        machine: Processor or GPU.
        config_hash: See :func:`lawm.benchmarks.label_grid.hash_config`.
        commit: Of the code that began the run; ``-dirty`` if it had uncommitted changes.
        version: Of lawm.
        command: Makes the same run.
    """

    task: str
    data: str
    method: str
    labelled_fraction: float
    labelled_episodes: int | None
    labelled_transitions: int | None
    seed: int
    return_final: float | None
    return_final_std: float | None
    episodes: int | None
    return_selected: float | None
    step_selected: int | None
    return_best: float | None
    step_best: int | None
    action_r2: float | None
    verdict: str
    data_mean: float | None
    data_best: float | None
    hours: float | None
    machine: str
    config_hash: str
    commit: str
    version: str
    command: str

    @property
    def key(self) -> RunKey:
        """Which run it is."""
        fraction = round(self.labelled_fraction, 6)
        return RunKey(self.task, self.data, self.method, fraction, self.seed)


COLUMNS = tuple(field.name for field in fields(GridRow))
_TYPES = get_type_hints(GridRow)


def row_from_report(key: RunKey, report: Mapping[str, Any], **made_with: str) -> GridRow:
    """The row of a finished run.

    Args:
        key: Which run it is.
        report: Its ``report.json``.
        **made_with: ``machine``, ``config_hash``, ``commit``, ``version`` and ``command``.
    """
    data, stages = report.get("data", {}), report.get("stages", {})
    evaluations = report.get("evaluation", {})
    final, chosen, best = (evaluations.get(name) or {} for name in ("final", "selected", "best"))
    r2 = [stages.get(stage, {}).get("metrics", {}).get(name) for stage, name in _ACTION_R2]
    seconds = [stage["seconds"] for stage in stages.values()]
    return GridRow(
        task=key.task,
        data=key.data,
        method=key.method,
        labelled_fraction=key.labelled_fraction,
        seed=key.seed,
        labelled_episodes=data.get("labelled episodes"),
        labelled_transitions=data.get("labelled transitions"),
        return_final=_return(final.get("mean")),
        return_final_std=_return(final.get("std")),
        episodes=final.get("episodes"),
        return_selected=_return(chosen.get("mean")),
        step_selected=chosen.get("step"),
        return_best=_return(best.get("mean")),
        step_best=best.get("step"),
        action_r2=_rounded(next((value for value in r2 if value is not None), None), 3),
        verdict=(report.get("latent_action") or {}).get("verdict") or "",
        data_mean=_return(data.get("return mean")),
        data_best=_return(data.get("return best")),
        hours=_rounded(sum(seconds) / 3600, 4) if seconds else None,
        **made_with,
    )


def read_rows(path: Path, *, all_columns: bool = False) -> list[GridRow]:
    """Read a CSV of runs.

    Args:
        path: The file.
        all_columns: Refuse a file without one of our columns or with others, which writing it
            again would lose; else only those that a table needs must be there.

    Raises:
        LawmError: The file is missing, has other columns, a cell that is no number, or a run
            twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            _check_columns(path, columns, all_columns)
            rows = [_parse(path, reader.line_num, cells) for cells in reader]
    except FileNotFoundError as error:
        raise LawmError(
            f"{path} does not exist; expected a CSV that `lawm bench labels` wrote."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LawmError(
            f"{path} is not a CSV file ({error}); expected one that `lawm bench labels` wrote."
        ) from error
    seen: set[RunKey] = set()
    for row in rows:
        if row.key in seen:
            raise LawmError(f"{path} has two rows of one run, {describe(row.key)}. Delete one.")
        seen.add(row.key)
    return rows


def write_rows(path: Path, rows: Iterable[GridRow]) -> None:
    """Write a CSV, whole or not at all, in an order that does not depend on when runs ended."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: _place(row.key)):
        cells = asdict(row)
        writer.writerow({name: "" if cells[name] is None else cells[name] for name in cells})
    write_atomically(path, text.getvalue())


def describe(key: RunKey) -> str:
    """A run in words."""
    share = f"{key.labelled_fraction * 100:g}% labelled"
    return f"{key.task} {key.method}, {share}, seed {key.seed}"


def _place(key: RunKey) -> tuple[str, str, int, str, float, int]:
    rank = METHODS.index(key.method) if key.method in METHODS else len(METHODS)
    return key.task, key.data, rank, key.method, key.labelled_fraction, key.seed


def _check_columns(path: Path, columns: Sequence[str], all_columns: bool) -> None:
    missing = [name for name in (COLUMNS if all_columns else NEEDED) if name not in columns]
    if missing:
        raise LawmError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            "expected a CSV that `lawm bench labels` wrote."
        )
    others = [name for name in columns if name not in COLUMNS] if all_columns else []
    if others:
        raise LawmError(
            f"{path} has the column{'s' if len(others) > 1 else ''} {', '.join(others)}, which "
            "`lawm bench labels` does not know and would lose. Give another --csv."
        )


def _parse(path: Path, line: int, cells: Mapping[str, str | None]) -> GridRow:
    values: dict[str, Any] = {}
    for name in COLUMNS:
        text = (cells.get(name) or "").strip()
        kind = _TYPES[name]
        if kind is str:
            values[name] = text
            continue
        number = int if kind in (int, int | None) else float
        try:
            values[name] = number(text) if text or kind in (int, float) else None
            if not math.isfinite(values[name] or 0):
                raise ValueError(text)
        except ValueError as error:
            wanted = "a whole number" if number is int else "a number"
            raise LawmError(
                f"{path}, line {line}: {name} is {text!r}; expected {wanted}."
            ) from error
    return GridRow(**values)


def _return(value: float | None) -> float | None:
    """To a tenth; below ten to four places, as a return may be a rate of success."""
    return None if value is None else round(value, 1 if abs(value) >= 10.0 else 4)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


__all__ = ["COLUMNS", "GridRow", "describe", "read_rows", "row_from_report", "write_rows"]
