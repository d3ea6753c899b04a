"""Where the world model of a run comes from: this run, or another one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lawm.errors import LawmError
from lawm.run_folder import RunFolder, StageFolder
from lawm.stage_runner import StageRunner

StageChoice = Literal["all", "world_model", "policy"]


def find_world_model(
    stage_1: StageRunner, stage: StageChoice, world_model_from: Path | None
) -> StageFolder | None:
    """The stage 1 of another run that is to be taken; None where this run has or trains its own.

    Args:
        stage_1: Of this run.
        stage: What is to be trained.
        world_model_from: Run folder or checkpoint whose stage 1 is taken.

    Raises:
        LawmError: There is no finished stage 1 where one is needed.
    """
    if stage_1.finished_record() is not None:
        return None
    if world_model_from is not None:
        source = _stage_1_folder(world_model_from)
        if stage_1.finished_record(source) is None:
            raise LawmError(
                f"stage 1 of --world_model_from {world_model_from} is not finished: "
                f"there is no {source.done_marker}. Finish it with `lawm fit --resume`, or "
                "leave the option out."
            )
        return source
    if stage == "policy":
        raise LawmError(
            f"--stage policy needs a finished stage 1, and {stage_1.files.path} holds "
            "none. Train it with --stage world_model or all, continue a run with --resume RUN, "
            "or take it from another run with --world_model_from RUN."
        )
    return None


def refuse_world_model(stage: StageChoice, world_model_from: Path | None) -> None:
    """For a method without a world model.

    Raises:
        LawmError: One is asked for.
    """
    if stage == "world_model":
        raise LawmError(
            "--stage world_model asks for a world model, and with method behaviour_cloning "
            "there is none. Leave out --stage, or set method to latent_action."
        )
    if world_model_from is not None:
        raise LawmError(
            f"--world_model_from {world_model_from} gives a world model, and with method "
            "behaviour_cloning there is none. Leave the option out, or set method to "
            "latent_action."
        )


def _stage_1_folder(path: Path) -> StageFolder:
    """The stage 1 of a run folder, or the one that a checkpoint lies in."""
    if not path.exists():
        raise LawmError(
            f"--world_model_from {path} does not exist; expected a run folder or its "
            "world_model/checkpoints/last.ckpt."
        )
    if path.is_file():
        return StageFolder(path.parent.parent)
    return RunFolder(path).stage("world_model")


__all__ = ["StageChoice", "find_world_model", "refuse_world_model"]
