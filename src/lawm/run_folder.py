"""The folder of one run: what lies where, and the promise that nothing in it is overwritten.

config.yaml                 the merged configuration, as run; accepted by `lawm fit --config`
world_model/checkpoints/    last.ckpt, previous.ckpt  policy/checkpoints/   these and best.ckpt
world_model/metrics.csv     one row per logged step   policy/metrics.csv
world_model/pictures/       imagined images, if the data have any
world_model/DONE            JSON, once stage 1 ended  policy/DONE
inverse_dynamics/           alike, where pseudo-labels are made
evaluation.csv              one row per evaluation in the environment
tensorboard/                events of both stages on one time axis
report.json                 the final table as numbers
provenance.json             each start: command, commit, versions, machine; and what the data are
.lock                       who is training here, see :mod:`lawm.run_lock`
faults/                     batches whose loss was not finite, if there were any
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lawm.atomic_write import is_leftover, remove_leftovers, write_atomically
from lawm.errors import LawmError
from lawm.fit_config import StageName
from lawm.user_modules import allowing


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
    def previous_checkpoint(self) -> Path:
        """The state saved before that, for the case that the newest is damaged."""
        return self.checkpoints / "previous.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """State with the best evaluation return (policy only)."""
        return self.checkpoints / "best.ckpt"

    @property
    def selected_checkpoint(self) -> Path:
        """State that the world model itself thinks best (policy only)."""
        return self.checkpoints / "selected.ckpt"

    @property
    def metrics_file(self) -> Path:
        """Logged numbers, one row per step."""
        return self.path / "metrics.csv"

    @property
    def panel_file(self) -> Path:
        """Figures and verdict of the latent-action panel (world model only)."""
        return self.path / "panel.json"

    @property
    def pictures(self) -> Path:
        """Folder of what was imagined of held-out images (world model only)."""
        return self.path / "pictures"

    @property
    def done_marker(self) -> Path:
        """Exists once the stage has ended; holds its :class:`StageRecord`."""
        return self.path / "DONE"

    def has_checkpoint(self) -> bool:
        """Whether there is a state to go on from."""
        return self.last_checkpoint.is_file() or self.previous_checkpoint.is_file()

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

    @property
    def provenance_file(self) -> Path:
        """How and with what the run was started, see :mod:`lawm.provenance`."""
        return self.path / "provenance.json"

    @property
    def lock_file(self) -> Path:
        """Held by the process that trains here."""
        return self.path / ".lock"

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
    """Refuse a folder that holds anything but traces of a start that was killed; writes nothing.

    Raises:
        LawmError: The folder exists and is not empty, or it is a file.
    """
    if path.is_file():
        raise LawmError(f"run_dir {path} is a file; expected a new folder. Give another --run_dir.")
    ours = RunFolder(path).lock_file
    if path.is_dir() and any(f != ours and not is_leftover(f) for f in path.iterdir()):
        advice = "Give another --run_dir"
        config_file = RunFolder(path).config_file
        if config_file.is_file():
            same = config_file.read_text() == config_text
            which = "this same configuration" if same else "another configuration"
            advice += f"; to continue the run that is there, which has {which}, "
            advice += f"use `{allowing(f'lawm fit --resume {path}')}`"
        raise LawmError(f"run_dir {path} is not empty, and lawm overwrites nothing. {advice}.")


def make_folder(path: Path) -> None:
    """Make the folder of a new run, unless it is there.

    Raises:
        LawmError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def create_run_folder(path: Path, config_text: str) -> RunFolder:
    """A new run folder that holds only the configuration.

    Raises:
        LawmError: The folder exists and is not empty, or cannot be written.
    """
    check_new_run_folder(path, config_text)
    make_folder(path)
    folder = RunFolder(path)
    try:
        remove_leftovers(path)
        folder.write_config(config_text)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    return folder


def _cannot_be_written(path: Path, error: OSError) -> LawmError:
    return LawmError(
        f"run_dir {path} cannot be written ({error.strerror}). Give another --run_dir."
    )


def open_run_folder(path: Path) -> RunFolder:
    """An existing run folder.

    Raises:
        LawmError: There is no such folder, it is not a run of lawm, or a link in it leads out.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise LawmError(f"run folder {path} {what}; expected the folder of a `lawm fit`.")
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


__all__ = [
    "RunFolder",
    "StageFolder",
    "StageRecord",
    "check_new_run_folder",
    "create_run_folder",
    "make_folder",
    "open_run_folder",
]
