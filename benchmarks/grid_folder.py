"""The output folder of a label-efficiency grid.

plan.json                          the settings that all runs share
<task>/<method>-<budget>-<seed>/   run folder of `lawm fit`
<task>/<...>.log                   what the run printed, all attempts
<task>/<...>.json                  with what it was begun, and how the last attempt ended
label_efficiency.csv               a row a finished run, unless it is kept elsewhere
.lock                              who works here
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lawm.atomic_write import is_leftover, write_atomically
from lawm.benchmarks.grid_rows import GridRow, row_from_report
from lawm.benchmarks.label_grid import GridRun
from lawm.errors import LawmError
from lawm.run_folder import RunFolder

State = Literal["new", "begun", "finished", "stale"]
FORMAT = "lawm-label-grid"


@dataclass(frozen=True)
class RunRecord:
    """What the grid knows of a run that was begun."""

    config_hash: str
    commit: str
    version: str
    machine: str
    command: str
    error: str = ""  # last line of the last attempt if that failed


class GridFolder:
    """Where the runs of a grid lie, and how far they are.

    Args:
        path: The folder; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def csv(self) -> Path:
        """Where the rows go if nothing else is said."""
        return self.path / "label_efficiency.csv"

    @property
    def _plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def lock(self) -> Path:
        """Held by the one grid that works here."""
        return self.path / ".lock"

    def run(self, run: GridRun) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / run.task.name / run.name)

    def has_world_model(self, run: GridRun) -> bool:
        """Whether a run has finished its stage 1."""
        return self.run(run).stage("world_model").done_marker.is_file()

    def log(self, run: GridRun) -> Path:
        """What it printed."""
        return self.path / run.task.name / f"{run.name}.log"

    def record(self, run: GridRun) -> RunRecord | None:
        """How it was begun; None if it was not, or not by a grid."""
        file = self._record_file(run)
        if not file.is_file():
            return None
        try:
            return RunRecord(**json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise LawmError(
                f"{file} is damaged ({error}); expected the JSON that `lawm bench labels` writes "
                "when it begins a run. Delete it and the run folder beside it."
            ) from error

    def write_record(self, run: GridRun, record: RunRecord) -> None:
        """Note how a run is begun, or how it ended."""
        write_atomically(self._record_file(run), json.dumps(asdict(record), indent=2) + "\n")

    def state(self, run: GridRun) -> State:
        """How far a run is; stale if what is there was begun with other settings or data."""
        folder = self.run(run)
        if not folder.config_file.is_file():
            return "new"
        record = self.record(run)
        if record is None or record.config_hash != run.config_hash:
            return "stale"
        return "finished" if folder.report_file.is_file() else "begun"

    def row(self, run: GridRun) -> GridRow:
        """The row of a finished run, from its report."""
        file, record = self.run(run).report_file, self.record(run)
        assert record is not None, "only a run that a grid began is finished"
        try:
            report = json.loads(file.read_text())
        except ValueError as error:
            raise LawmError(
                f"{file} is damaged ({error}); expected the JSON that lawm writes when a run ends. "
                "Delete it: the next call writes it again."
            ) from error
        made_with = {key: value for key, value in asdict(record).items() if key != "error"}
        return row_from_report(run.key, report, **made_with)

    def set_aside(self, run: GridRun) -> Path:
        """Move a stale run out of the way; nothing is deleted.

        Returns:
            Where it is now.
        """
        folder = self.run(run).path
        number = 1
        while (aside := folder.with_name(f"{folder.name}.stale-{number}")).exists():
            number += 1
        folder.rename(aside)
        for file in (self._record_file(run), self.log(run)):
            if file.exists():
                file.rename(file.with_name(f"{aside.name}{file.suffix}"))
        return aside

    def check(self) -> None:
        """Refuse a folder that holds something else; writes nothing.

        Raises:
            LawmError: It is a file, or not empty and no grid.
        """
        if self.path.exists() and not self.path.is_dir():
            raise LawmError(f"--out {self.path} is a file; expected a folder.")
        if self._plan_file.is_file() or not self.path.is_dir():
            return
        if any(file != self.lock and not is_leftover(file) for file in self.path.iterdir()):
            raise LawmError(
                f"--out {self.path} is not empty and holds no grid of `lawm bench labels`; lawm "
                "overwrites nothing. Give another --out."
            )

    def claim(self, configs: dict[str, str], settings: Sequence[str], *, change: bool) -> None:
        """Make the folder of a new grid, or check that it is this grid's.

        Args:
            configs: Configuration of each task by its name.
            settings: What all runs share beyond it.
            change: Accept other settings than those before.

        Raises:
            LawmError: It holds something else, or a grid with other settings.
        """
        self.check()
        file = self._plan_file
        plan: dict[str, Any] = {"format": FORMAT, "settings": list(settings), "tasks": configs}
        if file.is_file():
            before = self._read_plan(file)
            if not change:
                self._compare(before, plan)
            plan["tasks"] = before["tasks"] | configs
        write_atomically(file, json.dumps(plan, indent=2) + "\n")

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        advice = "Give another --out, or change the plan of this one with --rerun-stale."
        if before["settings"] != now["settings"]:
            there, here = (" ".join(plan["settings"]) or "none" for plan in (before, now))
            raise LawmError(
                f"--out {self.path} belongs to another plan: its runs have the settings {there}, "
                f"these {here}. {advice}"
            )
        for name, config in now["tasks"].items():
            there = before["tasks"].get(name, config)
            if there != config:
                raise LawmError(
                    f"--out {self.path} belongs to another plan: its task {name} is {there}, "
                    f"this one {config}. {advice}"
                )

    def _read_plan(self, file: Path) -> dict[str, Any]:
        try:
            plan: dict[str, Any] = json.loads(file.read_text())
            if plan["format"] != FORMAT:
                raise ValueError("another format")
            return {"settings": list(plan["settings"]), "tasks": dict(plan["tasks"])}
        except (ValueError, TypeError, KeyError) as error:
            raise LawmError(
                f"{file} is not what `lawm bench labels` writes ({error}). Give another --out."
            ) from error

    def _record_file(self, run: GridRun) -> Path:
        return self.path / run.task.name / f"{run.name}.json"


__all__ = ["GridFolder", "RunRecord", "State"]
