"""The folder of one run: what lies where, and the promise that nothing in it is overwritten.

config.yaml                 the merged configuration, as run; accepted by `lawm fit --config`
world_model/checkpoints/    last.ckpt                 policy/checkpoints/   last.ckpt, best.ckpt
world_model/metrics.csv     one row per logged step   policy/metrics.csv
world_model/DONE            JSON, once stage 1 ended  policy/DONE
evaluation.csv              one row per evaluation in the environment
tensorboard/                events of both stages on one time axis
report.json                 the final table as numbers
faults/                     batches whose loss was not finite, if there were any
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lawm.errors import LawmError
from lawm.fit_config import StageName


@dataclass(frozen=True)
class StageRecord:
    """What ``DONE`` tells of a finished stage."""

    fingerprint: str  # of the inputs that the stage's weights depend on
    global_step: int
    seconds: float  # training time, summed over resumes
    metrics: dict[str, float] = field(default_factory=dict)  # the last values logged
    results: dict[str, Any] = field(default_factory=dict)  # of the evaluations, for the report


@dataclass(frozen=True)
class StageFolder:
    """The part of a run folder that belongs to one stage."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """Newest state, what a resume starts from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """State with the best evaluation return (policy only)."""
        return self.checkpoints / "best.ckpt"

    @property
    def metrics_file(self) -> Path:
        """Logged numbers, one row per step."""
        return self.path / "metrics.csv"

    @property
    def done_marker(self) -> Path:
        """Exists once the stage has ended; holds its :class:`StageRecord`."""
        return self.path / "DONE"

    def read_done(self) -> StageRecord | None:
        """The record of the finished stage, None while it is not finished.

        Raises:
            LawmError: The marker exists but is not what lawm writes.
        """
        if not self.done_marker.is_file():
            return None
        try:
            return StageRecord(**json.loads(self.done_marker.read_text()))
        except (ValueError, TypeError) as error:
            raise LawmError(
                f"{self.done_marker} is damaged ({error}); expected the JSON that lawm writes when "
                "a stage ends. Delete the file and continue the run with `lawm fit --resume`."
            ) from error

    def write_done(self, record: StageRecord) -> None:
        """Mark the stage as finished."""
        write_atomically(self.done_marker, json.dumps(asdict(record), indent=2) + "\n")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Configuration as run."""
        return self.path / "config.yaml"

    @property
    def evaluation_file(self) -> Path:
        """One row per evaluation in the environment."""
        return self.path / "evaluation.csv"

    @property
    def tensorboard(self) -> Path:
        """Event files of both stages."""
        return self.path / "tensorboard"

    @property
    def faults(self) -> Path:
        """Batches whose loss was not finite, for `lawm replay`."""
        return self.path / "faults"

    @property
    def report_file(self) -> Path:
        """Numbers of the final table."""
        return self.path / "report.json"

    def stage(self, name: StageName) -> StageFolder:
        """The part of one stage."""
        return StageFolder(self.path / name)

    def write_config(self, text: str) -> None:
        """Save the merged configuration."""
        write_atomically(self.config_file, text)

    def write_report(self, report: dict[str, Any]) -> None:
        """Save the final numbers."""
        write_atomically(self.report_file, json.dumps(report, indent=2) + "\n")


def check_new_run_folder(path: Path, config_text: str) -> None:
    """Refuse a folder that holds anything; writes nothing.

    Raises:
        LawmError: The folder exists and is not empty, or it is a file.
    """
    if path.is_file():
        raise LawmError(f"run_dir {path} is a file; expected a new folder. Give another --run_dir.")
    if path.is_dir() and any(path.iterdir()):
        advice = "Give another --run_dir"
        config_file = RunFolder(path).config_file
        if config_file.is_file():
            same = config_file.read_text() == config_text
            which = "this same configuration" if same else "another configuration"
            advice += f"; to continue the run that is there, which has {which}, "
            advice += f"use `lawm fit --resume {path}`"
        raise LawmError(f"run_dir {path} is not empty, and lawm overwrites nothing. {advice}.")


def create_run_folder(path: Path, config_text: str) -> RunFolder:
    """A new run folder that holds only the configuration.

    Raises:
        LawmError: The folder exists and is not empty, or cannot be made.
    """
    check_new_run_folder(path, config_text)
    folder = RunFolder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder.write_config(config_text)
    except OSError as error:
        raise LawmError(
            f"run_dir {path} cannot be written ({error.strerror}). Give another --run_dir."
        ) from error
    return folder


def open_run_folder(path: Path) -> RunFolder:
    """An existing run folder.

    Raises:
        LawmError: There is no such folder, it is not a run of lawm, or a link in it leads out.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise LawmError(f"run folder {path} does not exist; expected the folder of a `lawm fit`.")
    if not folder.config_file.is_file():
        raise LawmError(
            f"{path} is not a run folder: it holds no config.yaml. Expected the folder that "
            "`lawm fit` printed, such as runs/cheetah/<date-time>."
        )
    _refuse_escaping_links(path)
    return folder


def _refuse_escaping_links(path: Path) -> None:
    """What is read, written or replaced in a run lies in its folder, whoever made the folder."""
    root = path.resolve()
    for below in sorted(path.rglob("*")):
        target = Path(os.path.realpath(below))  # unlike resolve(), of links in a circle too
        if below.is_symlink() and not target.is_relative_to(root):
            raise LawmError(
                f"{below} is a link that leads out of the run folder, to {target}; "
                "expected a run whose files lie in it, as lawm would write there. Move the whole "
                "folder instead, or put a copy in place of the link."
            )


def write_atomically(path: Path, text: str) -> None:
    """Write the file whole or not at all: a reader or a killed writer never sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


__all__ = [
    "RunFolder",
    "StageFolder",
    "StageRecord",
    "check_new_run_folder",
    "create_run_folder",
    "open_run_folder",
    "write_atomically",
]
