"""A trained agent from a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from lawm.action_prediction_module import ActionPredictionModule
from lawm.action_predictor import ActionPredictorConfig, ClonedAgent
from lawm.agent import LatentActionAgent
from lawm.checkpoint_file import newest_checkpoint, read_checkpoint
from lawm.errors import LawmError
from lawm.own_modules import NAME_KEY, latent_policy_module
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder, StageFolder, open_run_folder
from lawm.spec import DataSpec
from lawm.support_constraint import ConstraintConfig
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig

CheckpointName = Literal["last", "selected", "best"]


def load(run: str | Path, checkpoint: CheckpointName = "last") -> LatentActionAgent | ClonedAgent:
    """The agent of a run, on the CPU.

        agent = lawm.load("runs/cheetah/2026-01-31_12-00-00")
        action, state = agent.act(observation, state)

    Args:
        run: Folder that ``lawm fit`` made.
        checkpoint: ``last``; ``selected`` by the reward in long imagined rollouts; or ``best`` by
            the return in the environment along the run.

    Raises:
        LawmError: There is no such run or checkpoint, no policy in it yet, none was selected, or
            a checkpoint is damaged.
    """
    names = get_args(CheckpointName)
    if checkpoint not in names:
        raise LawmError(
            f"checkpoint is {checkpoint!r}; expected one of {', '.join(map(repr, names))}: the "
            "newest policy, the one selected by imagined reward, or the best in the environment."
        )
    folder = open_run_folder(Path(run))
    stage = folder.stage("policy")
    if checkpoint == "selected":
        if not stage.selected_checkpoint.is_file():
            raise LawmError(
                f"{stage.selected_checkpoint} does not exist: no policy of this run was selected "
                "by imagined reward. A cloned policy has no world model to imagine in, and older "
                "runs did not select. Take the checkpoint `last` or `best`."
            )
        saved = read_checkpoint(stage.selected_checkpoint)
    elif checkpoint == "best":
        saved = read_checkpoint(stage.best_checkpoint)
    else:
        _, saved = newest_checkpoint(stage.last_checkpoint, stage.previous_checkpoint)
    module = policy_module(folder, saved["hyper_parameters"])
    module.load_state_dict(saved["state_dict"])
    return module.eval().agent()


def policy_module(
    folder: RunFolder, hyper_parameters: dict[str, Any]
) -> LatentPolicyModule | ActionPredictionModule:
    """A fresh module of a run's stage 2, as a checkpoint describes it.

    Raises:
        LawmError: It acts in a world model, whose checkpoint is missing or damaged, or it is of a
            class of the user's whose module is not imported.
    """
    settings = dict(hyper_parameters)
    spec = DataSpec.from_dict(settings.pop("spec"))
    if "constraint" not in settings:  # a cloned policy
        return action_prediction_module(hyper_parameters)
    model = load_world_model(folder.stage("world_model"))
    settings["constraint"] = ConstraintConfig(**settings["constraint"])
    return latent_policy_module(settings.pop(NAME_KEY, None))(model, spec, **settings)


def action_prediction_module(hyper_parameters: dict[str, Any]) -> ActionPredictionModule:
    """A fresh module of behaviour cloning or of inverse dynamics."""
    settings = dict(hyper_parameters)
    spec = DataSpec.from_dict(settings.pop("spec"))
    settings["model"] = ActionPredictorConfig(**settings["model"])
    return ActionPredictionModule(spec, **settings)


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


__all__ = [
    "CheckpointName",
    "action_prediction_module",
    "load",
    "load_world_model",
    "policy_module",
]
