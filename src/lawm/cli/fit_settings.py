"""Settings of `lawm fit`; names and types are those of the signatures of what they build."""

from __future__ import annotations

import argparse
import inspect
from typing import Any, Literal, get_args

import lightning.pytorch as pl
from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from lawm.action_prediction_module import ActionPredictionModule
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.fit_config import CompileMode, EvaluationConfig, Method, StageConfig
from lawm.policy_module import LatentPolicyModule
from lawm.start_states import StartStateDataModule
from lawm.world_model_module import WorldModelModule

# Arguments of Lightning's Trainer that both stages share; lawm sets the others itself.
SHARED_TRAINER_ARGUMENTS = (
    "accelerator",
    "accumulate_grad_batches",
    "benchmark",
    "detect_anomaly",
    "deterministic",
    "devices",
    "limit_train_batches",
    "limit_val_batches",
    "log_every_n_steps",
    "num_nodes",
    "num_sanity_val_steps",
    "plugins",
    "precision",
    "profiler",
    "strategy",
    "sync_batchnorm",
)


# Where a class says what it is in words of the code, or serves two groups
TITLES = {
    "inverse_dynamics": "Inverse dynamics that make pseudo-labels, with --pseudo_labels true",
    "cloning": "Behaviour cloning, with --method behaviour_cloning",
    "world_model": "Stage 1, the world model: its training",
    "world_model.model": "The world model: sizes and variants",
    "policy": "Stage 2, the latent-action policy",
    "trainer": "Lightning's Trainer, for all stages",
    **{
        f"stages.{stage}": f"The Trainer of {name}; None keeps the value of trainer"
        for stage, name in (
            ("inverse_dynamics", "the inverse dynamics"),
            ("world_model", "stage 1"),
            ("policy", "stage 2, or of cloning"),
        )
    },
}


def build_parser(
    world_model: type[WorldModelModule] = WorldModelModule,
    policy: type[LatentPolicyModule] = LatentPolicyModule,
) -> ArgumentParser:
    """The parser of `lawm fit`.

    Args:
        world_model: What stage 1 trains; it has the settings that this takes.
        policy: The same of stage 2.
    """
    parser = ArgumentParser(
        prog="lawm fit",
        description="Train a latent-action world model on mixed trajectories, then a policy in it.",
        exit_on_error=False,
    )
    parser.add_argument(
        "-c", "--config", action=ActionConfigFile, help="YAML file; repeatable, the later one wins."
    )
    parser.add_argument(
        "--stage",
        type=Literal["all", "world_model", "policy"],
        default="all",
        help="Which stage to train.",
    )
    parser.add_argument(
        "--run_dir", type=str | None, help="New run folder; default runs/NAME/DATE-TIME."
    )
    parser.add_argument(
        "--resume", type=str | None, metavar="RUN", help="Continue the run in this folder."
    )
    parser.add_argument(
        "--world_model_from",
        type=str | None,
        metavar="RUN",
        help="Take stage 1 from this run folder or checkpoint, if it was trained alike.",
    )
    parser.add_argument(
        "--threads", type=int | None, help="CPU threads per process; default all cores, shared."
    )
    parser.add_argument(
        "--allow-import",
        action="append",
        metavar="MODULE",
        help="Import this module first, which may register an environment of yours, and let "
        "configurations name its classes; repeatable.",
    )
    parser.add_argument(
        "--name", type=str | None, help="Of the experiment; default the names of the configs."
    )
    parser.add_argument("--seed", type=int, default=0, help="Of weights, batches and samples.")
    parser.add_argument(
        "--policy_seed",
        type=int | None,
        help="Of stage 2 alone, for several policies in one world model; default that of the run.",
    )
    parser.add_argument(
        "--compile",
        type=_compile_mode,
        default="auto",
        help="auto: fused kernels on the CPU; off: plain PyTorch; full: torch.compile.",
    )
    parser.add_argument(
        "--method",
        type=Method,
        default="latent_action",
        help="latent_action: a policy in a world model's imagination; behaviour_cloning: the "
        "baseline that copies the actions of the data.",
    )
    parser.add_argument(
        "--pseudo_labels",
        type=bool,
        default=False,
        help="Label the action-free episodes by inverse dynamics first: a baseline.",
    )
    add = parser.add_class_arguments
    add(MixedTrajectoryDataModule, "data", skip={"seed"}, instantiate=False)
    skip = {"spec", "stage"}
    add(ActionPredictionModule, "inverse_dynamics", skip=skip, instantiate=False)
    add(world_model, "world_model", skip={"spec"}, instantiate=False)
    add(policy, "policy", skip={"world_model", "spec"}, instantiate=False)
    add(ActionPredictionModule, "cloning", skip={"spec", "stage"}, instantiate=False)
    skip = {"world_model", "data", "seed"}
    add(StartStateDataModule, "start_states", skip=skip, instantiate=False)
    skip = set(_trainer_signature()) - set(SHARED_TRAINER_ARGUMENTS)
    add(pl.Trainer, "trainer", skip=skip, instantiate=False)
    add(StageConfig, "stages.inverse_dynamics", skip={"module"}, instantiate=False)
    add(StageConfig, "stages.world_model", instantiate=False)
    skip = {"gradient_clip_val", "val_check_interval", "limit_val_batches"}
    add(StageConfig, "stages.policy", skip=skip, instantiate=False)
    add(EvaluationConfig, "evaluation", instantiate=False)
    assert parser.groups is not None
    for group, title in TITLES.items():
        parser.groups[group].title = title
    parser.set_defaults(
        {
            "trainer.num_sanity_val_steps": 0,
            "inverse_dynamics.model.before": 1,
            "inverse_dynamics.model.after": 2,
            "stages.inverse_dynamics.gradient_clip_val": 100.0,
            "stages.world_model.gradient_clip_val": 100.0,
            "stages.policy.max_steps": 1500,
        }
    )
    return parser


def _compile_mode(value: Any) -> CompileMode:  # noqa: ANN401
    """A bare ``off`` is False in YAML 1.1."""
    modes: tuple[CompileMode, ...] = get_args(CompileMode)
    text = "off" if value is False or value == "False" else value
    for mode in modes:
        if text == mode:
            return mode
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(modes)}, got {value}")


def _trainer_signature() -> list[str]:
    """Names of all arguments of Lightning's Trainer, behind its decorators."""
    return [name for name in inspect.signature(pl.Trainer.__init__).parameters if name != "self"]


__all__ = ["build_parser"]
