"""Reads the command line and the configuration files of `lawm fit`.

Built on jsonargparse, the parser below Lightning's own command line: several ``--config`` files
stack, any value can be given on the command line, the later one wins.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser, Namespace

from lawm.cli.fit_settings import build_parser
from lawm.cli.import_policy import denied_import, only_trusted_imports, refuse_class_as_text
from lawm.cli.known_keys import check_config_file, check_options
from lawm.cli.named_modules import MODULE_OPTIONS, named_modules, require_as_found
from lawm.cli.option_spelling import in_known_spelling
from lawm.cli.setting_ranges import check_ranges
from lawm.errors import LawmError
from lawm.fit_config import STAGES, EvaluationConfig, FitConfig, StageConfig
from lawm.own_modules import latent_policy_module, world_model_module
from lawm.run_folder import open_run_folder
from lawm.safe_yaml import read_yaml
from lawm.stage_identity import unknown_to
from lawm.trainer_check import without_apple_gpu
from lawm.user_modules import import_user_modules

_FIRST = ("config", "resume", "run_dir", "allow-import")  # read before all others
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


def parse_fit(arguments: list[str]) -> FitRequest:
    """Read the command line and the configuration files.

    Args:
        arguments: What follows `lawm fit`.

    Raises:
        LawmError: An unknown key, a value of the wrong type or out of its range, or a file or
            module that cannot be used.
        SystemExit: After ``--help`` or ``--print_config``.
    """
    arguments = in_known_spelling(arguments, [f"--{name}" for name in (*_FIRST, *MODULE_OPTIONS)])
    files, resume, allowed = _read_first(arguments)
    import_user_modules(allowed)
    if resume is not None:
        open_run_folder(resume)
        # The run's own configuration comes first; what is given beside --resume wins over it.
        files = [resume / "config.yaml", *files]
    own = named_modules(files, arguments)
    parser = build_parser(*_classes(own))
    known = {*parser.get_defaults().keys(), "help", "print_config"} - {"allow_import"}
    options = {*known, "allow-import"}
    arguments = in_known_spelling(arguments, {f"--{name}" for name in options})
    check_options(arguments, options)
    for file in files:
        check_config_file(file, known)
    if resume is not None:
        older = unknown_to(read_yaml(files[0]))
        added = [f"--{key}={json.dumps(value)}" for key, value in older.items()]
        arguments = ["--config", str(files[0]), *added, *arguments]
    if not files and "--help" not in arguments and "-h" not in arguments:
        _require_data(arguments)
    try:
        with only_trusted_imports(also=allowed):
            values = parser.parse_args(arguments)
            check_ranges(values.as_dict())
            require_as_found({option: values[option] for option in own}, own)
            if values.threads is not None and values.threads < 1:
                raise LawmError(f"threads is {values.threads}; expected a whole number from 1.")
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


def _classes(own: Mapping[str, str | None]) -> tuple[type[Any], type[Any]]:
    """What the two stages train."""
    world_model, policy = (own[option] for option in MODULE_OPTIONS)
    return world_model_module(world_model), latent_policy_module(policy)


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
        trainer=without_apple_gpu(vars(built.trainer)),
        stages={stage: StageConfig(**vars(built.stages[stage])) for stage in STAGES},
        evaluation=EvaluationConfig(**vars(built.evaluation)),
        compile=built.compile,
        method=built.method,
        pseudo_labels=built.pseudo_labels,
        policy_seed=built.policy_seed,
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


__all__ = ["FitRequest", "parse_fit"]
