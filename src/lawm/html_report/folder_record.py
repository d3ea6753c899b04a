"""Several runs, and the tables and plots that lie beside them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from lawm.errors import LawmError
from lawm.html_report.run_files import FileReader
from lawm.html_report.run_record import RunRecord, read_run

MAX_ROWS = 2000  # of a table that is shown
_SET_ASIDE = re.compile(r"\.stale-\d+$")  # by `lawm bench labels`: begun with other settings


@dataclass(frozen=True)
class Table:
    """A CSV file of the folder."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    left_out: int  # rows


@dataclass(frozen=True)
class FolderRecord:
    """Runs, and what lies beside them."""

    path: Path | None  # None for runs that were named one by one
    runs: list[RunRecord]
    attempts: dict[str, str] = field(default_factory=dict)  # run to what its last attempt said
    tables: list[Table] = field(default_factory=list)
    plots: list[Path] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # sentences


def is_run(path: Path) -> bool:
    """Whether a folder is that of one run."""
    return (path / "config.yaml").is_file()


def runs_below(path: Path) -> list[Path]:
    """The run folders in a folder, at any depth; links are not followed."""
    found = []
    for place, folders, _ in os.walk(path):
        here = Path(place)
        if here != path and is_run(here):
            found.append(here)
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found


def read_folder(path: Path) -> FolderRecord:
    """Read a folder of runs.

    Raises:
        LawmError: There is no such folder, or no run in it.
    """
    if not path.is_dir():
        raise LawmError(
            f"{path} does not exist; expected a run folder, or a folder with runs in it."
        )
    found = runs_below(path)
    kept = [run for run in found if not _SET_ASIDE.search(run.name)]
    files = FileReader(path)
    if not kept and not any(path.glob("*.csv")):
        raise LawmError(
            f"{path} holds no run: there is no config.yaml in it or below it. Expected the folder "
            "that `lawm fit` printed, or one that such folders lie in."
        )
    return FolderRecord(
        path=path,
        runs=_read(kept, [str(run.relative_to(path)) for run in kept], files.damaged),
        attempts=_attempts(files),
        tables=[_table(files, file) for file in sorted(path.glob("*.csv")) if file.is_file()],
        plots=[
            file
            for pattern in ("*.svg", "*.png")
            for file in sorted(path.glob(pattern))
            if file.is_file() and not (pattern == "*.png" and file.with_suffix(".svg").is_file())
        ],
        set_aside=[str(run.relative_to(path)) for run in found if run not in kept],
        damaged=files.damaged,
    )


def read_several(paths: list[Path]) -> FolderRecord:
    """Read runs that were named one by one, or folders of them.

    Raises:
        LawmError: One of them is no run and no folder of runs.
    """
    runs: list[Path] = []
    damaged: list[str] = []
    for path in paths:
        found = [path] if is_run(path) else [record.path for record in read_folder(path).runs]
        runs += [run for run in found if run not in runs]
    return FolderRecord(None, _read(runs, _short_names(runs), damaged), damaged=damaged)


def _read(paths: list[Path], names: list[str], damaged: list[str]) -> list[RunRecord]:
    records = []
    for path, name in zip(paths, names, strict=True):
        try:
            records.append(read_run(path, name))
        except LawmError as error:
            damaged.append(str(error))
    return records


def _short_names(paths: list[Path]) -> list[str]:
    """The parts of the paths that tell them apart."""
    resolved = [path.resolve() for path in paths]
    common = Path(os.path.commonpath([path.parent for path in resolved]))
    return [str(path.relative_to(common)) for path in resolved]


def _table(files: FileReader, path: Path) -> Table:
    rows = files.rows(path)
    columns = list(rows[0]) if rows else []
    cells = [[row.get(column) or "" for column in columns] for row in rows[:MAX_ROWS]]
    return Table(path.name, columns, cells, max(0, len(rows) - MAX_ROWS))


def _attempts(files: FileReader) -> dict[str, str]:
    """The last words of runs that failed, from the records that `lawm bench labels` keeps."""
    said = {}
    for path in sorted(files.root.glob("*/*.json")):
        if is_run(path.parent) or _SET_ASIDE.search(path.stem):
            continue
        error = files.mapping(path).get("error")
        if isinstance(error, str) and error:
            said[str(path.relative_to(files.root).with_suffix(""))] = error
    return said


__all__ = ["FolderRecord", "Table", "is_run", "read_folder", "read_several", "runs_below"]
