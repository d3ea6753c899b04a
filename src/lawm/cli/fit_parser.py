"""Settings of `lawm fit`: their names and types come from the signatures of the classes they build.

Built on jsonargparse, the parser below Lightning's own command line: several ``--config`` files
stack, any value can be given on the command line, the later one wins.
"""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from lawm.action_prediction_module import ActionPredictionModule
from lawm.cli.import_policy import denied_import, only_trusted_imports, refuse_class_as_text
from lawm.cli.known_keys import SET_BY_LAWM, check_config_file, check_options
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.errors import LawmError
from lawm.fit_config import STAGES, CompileMode, EvaluationConfig, FitConfig, Method, StageConfig
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import open_run_folder
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
# What belongs to one call and not to the experiment: not saved in the run's config.yaml.
CALL_FLAGS = ("stage", "run_dir", "resume", "world_model_from", "threads", "allow_import")


@dataclass(frozen=True)
class FitRequest:
    """One call of `lawm fit`."""

    config: FitConfig
    config_text: str  # the merged configuration as YAML
    stage: Literal["all", "world_model", "policy"]
    run_dir: Path | None
    resume: bool
    world_model_from: Path | None
    threads: int | None


def build_parser() -> ArgumentParser:
    """The parser of `lawm fit`."""
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
        help="Let configurations name classes of this module, which importing it may run; "
        "repeatable.",
    )
    parser.add_argument(
        "--name", type=str | None, help="Of the experiment; default the names of the configs."
    )
    parser.add_argument("--seed", type=int, default=0, help="Of weights, batches and samples.")
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
    add(WorldModelModule, "world_model", skip={"spec"}, instantiate=False)
    add(LatentPolicyModule, "policy", skip={"world_model", "spec"}, instantiate=False)
    add(ActionPredictionModule, "cloning", skip={"spec", "stage"}, instantiate=False)
    skip = {"world_model", "data", "seed"}
    add(StartStateDataModule, "start_states", skip=skip, instantiate=False)
    skip = set(_trainer_signature()) - set(SHARED_TRAINER_ARGUMENTS)
    add(pl.Trainer, "trainer", skip=skip, instantiate=False)
    add(StageConfig, "stages.inverse_dynamics", instantiate=False)
    add(StageConfig, "stages.world_model", instantiate=False)
    skip = {"gradient_clip_val", "val_check_interval", "limit_val_batches"}
    add(StageConfig, "stages.policy", skip=skip, instantiate=False)
    add(EvaluationConfig, "evaluation", instantiate=False)
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


def parse_fit(arguments: list[str]) -> FitRequest:
    """Read the command line and the configuration files.

    Args:
        arguments: What follows `lawm fit`.

    Raises:
        LawmError: An unknown key, a value of the wrong type, or a file that cannot be used.
        SystemExit: After ``--help`` or ``--print_config``.
    """
    parser = build_parser()
    known = {*parser.get_defaults().keys(), "help", "print_config"} - {"allow_import"}
    check_options(arguments, {*known, "allow-import"})
    files, resume, allowed = _read_first(arguments)
    if resume is not None:
        open_run_folder(resume)
        # The run's own configuration comes first; what is given beside --resume wins over it.
        files = [resume / "config.yaml", *files]
        arguments = ["--config", str(files[0]), *arguments]
    for file in files:
        check_config_file(file, known)
    if not files and "--help" not in arguments and "-h" not in arguments:
        _require_data(arguments)
    try:
        with only_trusted_imports(also=allowed):
            values = parser.parse_args(arguments)
            built = parser.instantiate(values)
            name = _checked_name(values.name or _experiment_name(files))
            config_text = _config_text(parser, values, name)
    except argparse.ArgumentTypeError as error:  # of a type of ours in a configuration file
        raise LawmError(f"compile in a configuration file: {error}.") from error
    except argparse.ArgumentError as error:
        raise LawmError(_as_sentence(str(error))) from error
    for key in ("accelerator", "profiler", "strategy"):
        refuse_class_as_text(f"trainer.{key}", built.trainer[key])
    return FitRequest(
        config=_fit_config(built, name),
        config_text=config_text,
        stage=values.stage,
        run_dir=resume or (Path(values.run_dir) if values.run_dir else None),
        resume=resume is not None,
        world_model_from=Path(values.world_model_from) if values.world_model_from else None,
        threads=values.threads,
    )


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


def _read_first(arguments: list[str]) -> tuple[list[Path], Path | None, list[str]]:
    """Configuration files, run to resume, and imports allowed, before anything is parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config", action="append", default=[], type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--run_dir", type=Path)
    parser.add_argument("--allow-import", action="append", default=[])
    try:
        found, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise LawmError(_as_sentence(str(error))) from error
    if found.resume is not None and found.run_dir is not None:
        raise LawmError(
            f"--resume {found.resume} and --run_dir {found.run_dir} exclude each other: a resumed "
            "run goes on in its own folder. Leave out --run_dir."
        )
    return found.config, found.resume, found.allow_import


def _require_data(arguments: list[str]) -> None:
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        raise LawmError(
            f"the command line has `{arguments[0]}`, which belongs to no option. Write "
            f"`lawm fit --config {arguments[0]}`."
        )
    if not any(argument.startswith("--data.shards") for argument in arguments):
        raise LawmError(
            "`lawm fit` needs to know its data: give a configuration, as in "
            "`lawm fit --config conf/cheetah.yaml`, or shards, as in "
            "`lawm fit --data.shards my.h5`."
        )


def _experiment_name(files: list[Path]) -> str:
    return "-".join(file.stem for file in files) or "unnamed"


def _checked_name(name: str) -> str:
    """A name that makes one folder below runs/, not one somewhere else."""
    if not re.fullmatch(r"[\w][\w.+=-]*", name):
        raise LawmError(
            f"name is `{name}`; expected letters, digits and any of _ . + = - after the first, as "
            "runs/NAME becomes a folder. Give another --name."
        )
    return name


def _fit_config(built: Namespace, name: str) -> FitConfig:
    return FitConfig(
        name=name,
        seed=built.seed,
        data=vars(built.data),
        inverse_dynamics=vars(built.inverse_dynamics),
        world_model=vars(built.world_model),
        policy=vars(built.policy),
        cloning=vars(built.cloning),
        start_states=vars(built.start_states),
        trainer=vars(built.trainer),
        stages={stage: StageConfig(**vars(built.stages[stage])) for stage in STAGES},
        evaluation=EvaluationConfig(**vars(built.evaluation)),
        compile=built.compile,
        method=built.method,
        pseudo_labels=built.pseudo_labels,
    )


def _config_text(parser: ArgumentParser, values: Namespace, name: str) -> str:
    content: dict[str, Any] = yaml.safe_load(parser.dump(values))
    settings = {key: content[key] for key in content if key not in (*CALL_FLAGS, "name")}
    return yaml.safe_dump({"name": name, **settings}, sort_keys=False)


def _as_sentence(problem: str) -> str:
    """One line from the parser's own message."""
    text = " ".join(problem.split())
    if sentence := denied_import(text):
        return sentence
    if text.startswith("unrecognized arguments:"):
        stray = text.removeprefix("unrecognized arguments:").split()[0]
        hint = f" Write `--config {stray}`." if stray.endswith((".yaml", ".yml")) else ""
        return f"the command line has `{stray}`, which belongs to no option.{hint}"
    if "are required:" in text:
        return f"no value is given for {text.split('are required:')[1].strip()}; set it."
    text = text.replace("Expected a ", "expected ").replace("typing.Literal[", "one of [")
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    text = text.replace("Parser key ", "the value of ").replace('":', '" is not accepted:')
    return f"{text.rstrip('.')}. `lawm fit --help` describes every setting."


__all__ = ["SET_BY_LAWM", "FitRequest", "build_parser", "parse_fit"]
