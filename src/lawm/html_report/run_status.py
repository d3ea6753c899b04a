"""Whether a run has ended well, runs, was stopped, or failed."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lawm.fit_config import StageName
from lawm.html_report.run_files import part
from lawm.run_folder import RunFolder
from lawm.run_lock import read_owner

Word = Literal["finished", "stage 1 finished", "running", "unfinished", "failed", "not started"]


@dataclass(frozen=True)
class StageProgress:
    """How far a stage came."""

    steps: int | None  # updates done, as far as was logged
    planned: int | None
    seconds: float | None  # training time, once the stage has ended
    is_done: bool
    has_checkpoint: bool


@dataclass(frozen=True)
class RunStatus:
    """One word, and what it means here."""

    word: Word
    sentence: str

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is expected of the run."""
        return self.word in ("finished", "stage 1 finished")


def status_of(
    folder: RunFolder,
    stages: Mapping[StageName, StageProgress],
    report: Mapping[str, Any],
    has_faults: bool,
    resume: str,
) -> RunStatus:
    """Judge by the marks that stages, locks and faults leave; ``resume`` is how to go on."""
    if all(stage.is_done for stage in stages.values()):
        return RunStatus("finished", "All stages have ended.")
    before = [stage for name, stage in stages.items() if name != "policy"]
    alone = before and all(stage.is_done for stage in before) and part(report, "stages")
    if alone and not stages["policy"].has_checkpoint:
        return RunStatus(
            "stage 1 finished",
            f"The world model has ended and no policy was asked for yet. Train it with `{resume}`.",
        )
    where = _where(stages)
    owner = read_owner(folder.lock_file)
    if owner and (alive := _is_alive(owner)) is not False:
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        sure = "is training" if alive else "was training when it last wrote, and has not signed off"
        return RunStatus("running", f"{where} {who[0].upper()}{who[1:]}, {sure}.")
    go_on = f"Continue with `{resume}`."
    if has_faults:
        return RunStatus(
            "failed", f"{where} A loss or gradient was not finite, see Faults below. {go_on}"
        )
    if all(stage.steps is None and not stage.has_checkpoint for stage in stages.values()):
        return RunStatus("not started", f"No update was logged yet. {go_on}")
    ended = "It was killed: its process is gone and did not sign off. " if owner else ""
    return RunStatus("unfinished", f"{where} {ended}{go_on}")


def _where(stages: Mapping[StageName, StageProgress]) -> str:
    """The stage that is not done, and its step."""
    number, name = next(
        (number, name)
        for number, (name, stage) in enumerate(stages.items(), start=1)
        if not stage.is_done
    )
    stage = stages[name]
    steps = "no update logged" if stage.steps is None else f"update {stage.steps:,}"
    of = "" if stage.planned is None else f" of {stage.planned:,}"
    return f"This run has not ended: stage {number}, {name.replace('_', ' ')}, {steps}{of}."


def _is_alive(owner: Mapping[str, str | int]) -> bool | None:
    """Whether the process lives; None where that cannot be known."""
    pid = owner["pid"]
    if owner["host"] != socket.gethostname() or not isinstance(pid, int) or pid < 1:
        return None
    try:
        os.kill(pid, 0)  # asks, and sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives and is somebody else's
        return True
    return True


__all__ = ["RunStatus", "StageProgress", "Word", "status_of"]
