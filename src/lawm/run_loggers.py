"""Where a run's numbers go: TensorBoard on one time axis for both stages, and a CSV per stage."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

from lawm.atomic_write import write_atomically


class _OnTrainerStep:
    """Mixin of loggers whose steps are updates done, whoever logs.

    Lightning counts the update that is being made from zero in what modules log, and callbacks use
    ``global_step``: one moment would have two numbers.
    """

    _trainer: pl.Trainer | None = None

    def follow(self, trainer: pl.Trainer) -> None:
        """Take the steps from this trainer from now on."""
        self._trainer = trainer

    def _true_step(self, step: int | None) -> int:
        if self._trainer is not None:
            return self._trainer.global_step
        assert step is not None
        return step


class _ShiftedEvents:
    """An event file in which every step is moved by `offset`."""

    def __init__(self, events: Any, offset: int) -> None:  # noqa: ANN401
        self._events = events
        self._offset = offset

    def add_event(self, event: Any) -> None:  # noqa: ANN401
        event.step += self._offset
        self._events.add_event(event)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._events, name)


class _ShiftedWriter(SummaryWriter):
    """A SummaryWriter whose steps begin at `offset`, whichever way an event is added."""

    def __init__(self, offset: int, **kwargs: Any) -> None:  # noqa: ANN401
        self._offset = offset
        super().__init__(**kwargs)

    def _get_file_writer(self) -> Any:  # noqa: ANN401
        fresh = self.file_writer is None
        writer = super()._get_file_writer()  # type: ignore[no-untyped-call]
        if fresh:
            writer.event_writer = _ShiftedEvents(writer.event_writer, self._offset)
        return writer


class OffsetTensorBoardLogger(_OnTrainerStep, TensorBoardLogger):
    """TensorBoard events in one folder for both stages, the second after the first.

    Hyper-parameters are not written here: ``config.yaml`` of the run holds them once.

    Args:
        folder: The folder of the event files.
        offset: Step of the shared axis at which this stage begins.
        resume_step: Older events beyond this step of the stage are void; None voids all of it.
    """

    def __init__(self, folder: Path, offset: int = 0, resume_step: int | None = None) -> None:
        super().__init__(save_dir=folder, name="", version="", default_hp_metric=False)
        self._offset = offset
        self._resume_step = resume_step
        self._writer: SummaryWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The SummaryWriter; its steps are those of the stage, shifted on writing."""
        if self._writer is None:
            # The purge mark is written before the file is wrapped, so it is not shifted there
            purge = (self._resume_step or 0) + 1 + self._offset
            is_first = not any(Path(self.log_dir).glob("events.*"))
            self._writer = _ShiftedWriter(
                self._offset, log_dir=self.log_dir, purge_step=None if is_first else purge
            )
        return self._writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add scalars at the step."""
        super().log_metrics(metrics, self._true_step(step))

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Nothing: see the class."""

    @rank_zero_only
    def save(self) -> None:
        """Flush the events."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.flush()
            self._writer.close()


class MetricsCSV(_OnTrainerStep, Logger):
    """One row per logged step, one column per number; grows by columns and survives a resume.

    Args:
        path: The file.
        resume_step: Rows beyond this step, of before the run was stopped, are dropped; None drops
            all.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self._path = path
        self._columns: list[str] = ["step"]
        self._row: dict[str, Any] = {}
        self._last_written: int | None = None
        self._is_row_written = False
        self._resume_step = -1 if resume_step is None else resume_step
        self._opened = False

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._path.name

    @property
    def version(self) -> str:
        """Not used."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of the step; the row is written when the next one begins."""
        step = self._true_step(step)
        if self._row and self._row["step"] != step:
            self._write_row()
            self._row = {}
        self._row.update({"step": step, **metrics})
        self._is_row_written = False

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Nothing: ``config.yaml`` of the run holds them."""

    @rank_zero_only
    def save(self) -> None:
        """Write the newest row, and wait until all rows are on the disk."""
        self._write_row()
        if self._path.is_file():
            with self._path.open("a") as file:
                os.fsync(file.fileno())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last row."""
        self._write_row()

    def _write_row(self) -> None:
        if not self._row or self._is_row_written:
            return
        if not self._opened:
            self._drop_rows_after_resume()
        new = sorted(set(self._row) - set(self._columns))
        grows = self._row["step"] == self._last_written  # saved before it was full
        if new or grows:
            rows = _read_rows(self._path)
            if grows:
                self._row = {**rows.pop(), **self._row}
            self._columns += new
            self._rewrite(rows)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(self._row)
        self._last_written = self._row["step"]
        self._is_row_written = True

    def _drop_rows_after_resume(self) -> None:
        rows = [row for row in _read_rows(self._path) if int(row["step"]) <= self._resume_step]
        self._columns = list(rows[0]) if rows else ["step"]
        self._last_written = int(rows[-1]["step"]) if rows else None
        self._rewrite(rows)
        self._opened = True

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        lines = [",".join(self._columns)]
        lines += [",".join(row.get(column) or "" for column in self._columns) for row in rows]
        write_atomically(self._path, "\n".join(lines) + "\n")


def last_values(path: Path) -> dict[str, float]:
    """The newest value of every column of a metrics file but the step; {} without a file."""
    newest: dict[str, float] = {}
    for row in _read_rows(path):
        newest |= {name: float(value) for name, value in row.items() if value}
    newest.pop("step", None)
    return newest


def _read_rows(path: Path) -> list[dict[str, str]]:
    """All whole rows; of the last line a killed writer may have left a part."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))


__all__ = ["MetricsCSV", "OffsetTensorBoardLogger", "last_values"]
