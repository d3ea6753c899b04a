"""One progress display for both stages: a bar in a terminal, plain lines in a log file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Figure = Callable[[pl.Trainer], float | None]  # a number to show beside the bar, None if unknown


def logged(name: str) -> Figure:
    """The figure that was last logged under `name`."""

    def read(trainer: pl.Trainer) -> float | None:
        value = trainer.callback_metrics.get(name)
        return None if value is None else float(value)

    return read


class StageProgress(pl.Callback):
    """Shows one stage of a run; the stages before and after it stand above and below.

    Numbers are read, and the device waited for, only when the display is refreshed.

    Args:
        titles: One line per stage of the run.
        stage: Index of this stage.
        figures: Numbers to show, by their label.
        refresh_every: Steps between two refreshes of the bar.
        seconds_between_lines: Longest time between two lines where there is no terminal; a tenth
            of the stage also makes a line.
        console: Where to write; default the standard error stream.
    """

    def __init__(
        self,
        titles: list[str],
        stage: int,
        figures: Mapping[str, Figure],
        refresh_every: int = 20,
        seconds_between_lines: float = 30.0,
        console: Console | None = None,
    ) -> None:
        super().__init__()
        self._titles = titles
        self._stage = stage
        self._figures = dict(figures)
        self._refresh_every = refresh_every
        self._seconds_between_lines = seconds_between_lines
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._bars = Progress()
        self._task = TaskID(0)
        self._figures_line = ""
        self._began = self._last_line = 0.0
        self._first_step = self._last_line_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the display."""
        if not trainer.is_global_zero:
            return
        self._began = self._last_line = time.monotonic()
        self._first_step = self._last_line_step = trainer.global_step
        if self._console.is_terminal:
            self._open_live(trainer)
        else:
            self._console.print(f"{self._titles[self._stage]}: {trainer.max_steps} steps")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Refresh when it is due."""
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        if self._live is not None:
            if step % self._refresh_every == 0 or step >= trainer.max_steps:
                self._update_bar(trainer)
        elif self._is_line_due(step, trainer.max_steps):
            self._print_line(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last figures and close the display."""
        if self._live is not None:
            self._update_bar(trainer)
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the display, so that the terminal is usable."""
        self._close()

    def figures_text(self, trainer: pl.Trainer) -> str:
        """The figures that are known, as "loss 1.23  return 241"."""
        values = {label: read(trainer) for label, read in self._figures.items()}
        return "  ".join(
            f"{label} {value:.4g}"
            for label, value in values.items()
            if value is not None and not math.isnan(value)
        )

    def _open_live(self, trainer: pl.Trainer) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        for index, title in enumerate(self._titles):
            if index < self._stage:
                continue  # its own bar is still on the screen, above
            is_current = index == self._stage
            task = self._bars.add_task(
                title,
                start=is_current,
                total=trainer.max_steps if is_current else None,
                completed=trainer.global_step if is_current else 0,
            )
            if is_current:
                self._task = task
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._render)
        self._live.start()

    def _render(self) -> Group:
        return Group(self._bars, Text(f"  {self._figures_line}"))

    def _update_bar(self, trainer: pl.Trainer) -> None:
        self._figures_line = self.figures_text(trainer)
        self._bars.update(self._task, completed=trainer.global_step)

    def _is_line_due(self, step: int, max_steps: int) -> bool:
        tenth = max(max_steps // 10, 1)
        return (
            step >= max_steps
            or step - self._last_line_step >= tenth
            or time.monotonic() - self._last_line >= self._seconds_between_lines
        )

    def _print_line(self, trainer: pl.Trainer) -> None:
        now, step = time.monotonic(), trainer.global_step
        self._last_line, self._last_line_step = now, step
        per_step = (now - self._began) / max(step - self._first_step, 1)
        left = per_step * max(trainer.max_steps - step, 0)
        self._console.print(
            f"{self._titles[self._stage]}: step {step}/{trainer.max_steps}  "
            f"{_clock(now - self._began)} elapsed, {_clock(left)} left  "
            f"{self.figures_text(trainer)}".rstrip(),
            soft_wrap=True,
        )

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


__all__ = ["Figure", "StageProgress", "logged"]
