"""A trained agent from a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lawm.agent import LatentActionAgent
from lawm.checkpoint_file import newest_checkpoint, read_checkpoint
from lawm.policy_module import ConstraintConfig, LatentPolicyModule
from lawm.run_folder import StageFolder, open_run_folder
from lawm.spec import DataSpec
from lawm.world_model import WorldModel, WorldModelConfig

CheckpointName = Literal["last", "best"]


def load(run: str | Path, checkpoint: CheckpointName = "last") -> LatentActionAgent:
    """The agent of a run, on the CPU.

        agent = lawm.load("runs/cheetah/2026-01-31_12-00-00")
        action, state = agent.act(observation, state)

    Args:
        run: Folder that ``lawm fit`` made.
        checkpoint: ``last``, or ``best`` by the return in the environment along the run.

    Raises:
        LawmError: There is no such run, no policy in it yet, or a checkpoint is damaged.
    """
    folder = open_run_folder(Path(run))
    model = load_world_model(folder.stage("world_model"))
    stage = folder.stage("policy")
    if checkpoint == "best":
        saved = read_checkpoint(stage.best_checkpoint)
    else:
        _, saved = newest_checkpoint(stage.last_checkpoint, stage.previous_checkpoint)
    settings: dict[str, Any] = dict(saved["hyper_parameters"])
    del settings["spec"]
    settings["constraint"] = ConstraintConfig(**settings["constraint"])
    module = LatentPolicyModule(model, model.spec, **settings)
    module.load_state_dict(saved["state_dict"])
    return module.eval().agent()


def load_world_model(stage: StageFolder) -> WorldModel:
    """The world model of a run's stage 1, on the CPU.

    Raises:
        LawmError: The checkpoint is missing or damaged.
    """
    _, saved = newest_checkpoint(stage.last_checkpoint, stage.previous_checkpoint)
    settings = saved["hyper_parameters"]
    model = WorldModel(DataSpec.from_dict(settings["spec"]), WorldModelConfig(**settings["model"]))
    prefix = "model."
    weights = {
        key.removeprefix(prefix): value
        for key, value in saved["state_dict"].items()
        if key.startswith(prefix)
    }
    model.load_state_dict(weights)
    return model.eval()


__all__ = ["CheckpointName", "load", "load_world_model"]
