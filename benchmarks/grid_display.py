"""What a label-efficiency grid shows while it runs: a live table, or lines where nobody looks."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lawm.benchmarks.grid_folder import GridFolder
from lawm.benchmarks.grid_rows import GridRow
from lawm.benchmarks.grid_runner import Active, Ending
from lawm.benchmarks.label_grid import GridRun
from lawm.benchmarks.label_plan import hours_text, remaining_hours
from lawm.fit_config import STAGES

REFRESH_S = 2.0


class GridDisplay:
    """Shows the runs that are trained, and prints a line for each that began or ended.

    Args:
        console: Where.
        folder: Of the grid.
        todo: The runs that will be trained.
        jobs: How many at a time.
        rows: Of the runs finished before, which tell how long the others may take.
    """

    def __init__(
        self,
        console: Console,
        folder: GridFolder,
        todo: Sequence[GridRun],
        jobs: int,
        rows: Sequence[GridRow] = (),
    ) -> None:
        self._console, self._folder, self._jobs = console, folder, jobs
        self._left = list(todo)
        self._total, self._finished, self._failed = len(todo), 0, 0
        self._rows = rows
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = 0.0

    def __enter__(self) -> GridDisplay:
        """Take the lower part of the terminal, if there is one."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give it back."""
        self._live.stop()

    def began(self, active: Active) -> None:
        """Print that a run was started."""
        gpu = "" if active.slot.gpu is None else f" on GPU {active.slot.gpu}"
        self._say(f"{active.run.label} begins{gpu}")

    def ended(self, ending: Ending, row: GridRow | None, rows: Sequence[GridRow]) -> None:
        """Print how a run ended.

        Args:
            ending: Of the run.
            row: Its row if it is finished.
            rows: All there are by now, which tell how long the others may take.
        """
        self._left.remove(ending.run)
        self._rows = rows
        if row is None:
            self._failed += 1
            self._say(f"{ending.run.label} failed: {ending.error}")
            return
        self._finished += 1
        result = "no final return" if row.return_final is None else f"return {row.return_final:g}"
        time_left = hours_text(remaining_hours(self._left, rows, self._jobs))
        minutes = ending.seconds / 60
        self._say(
            f"{ending.run.label} finished: {result}, {minutes:.1f} min; {len(self._left)} left, "
            f"about {time_left} h"
        )

    def waited(self, active: Sequence[Active]) -> None:
        """Refresh the table."""
        if not self._console.is_terminal or time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        table = Table()
        for name in ("run", "stage", "step"):
            table.add_column(name)
        table.add_column("minutes", justify="right")
        for one in active:
            stage, step = self._progress(one.run)
            table.add_row(one.run.label, stage, step, f"{(self._shown - one.began) / 60:.1f}")
        left = hours_text(remaining_hours(self._left, self._rows, self._jobs))
        failed = f", {self._failed} failed" if self._failed else ""
        summary = (
            f"{self._finished} of {self._total} finished{failed}, {len(active)} running, "
            f"about {left} h left. Ctrl-C saves and stops; the same command goes on."
        )
        self._live.update(Group(table, Text(summary)), refresh=True)

    def _progress(self, run: GridRun) -> tuple[str, str]:
        """Stage and last logged step."""
        for stage in reversed(STAGES):
            file = self._folder.run(run).stage(stage).metrics_file
            try:
                with file.open(newline="") as lines:
                    last = max(int(row["step"]) for row in csv.DictReader(lines))
            except (OSError, ValueError, KeyError, TypeError):  # not there, or just being written
                continue
            return stage, str(last)
        return "preparing", ""

    def _say(self, text: str) -> None:
        now = datetime.now().strftime("%H:%M:%S")
        self._console.print(f"{now} {text}", markup=False, highlight=False, soft_wrap=True)


__all__ = ["GridDisplay"]
