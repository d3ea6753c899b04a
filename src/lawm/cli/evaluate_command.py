"""`lawm evaluate`: the return of a trained policy."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from lawm.cli.json_file import check_json_path, write_json
from lawm.environment_check import check_environment
from lawm.envs.simulator_fault import SimulatorFault
from lawm.errors import LawmError
from lawm.evaluation import Recording, evaluate
from lawm.evaluation_result import EvaluationResult
from lawm.report import evaluation_numbers, return_text
from lawm.return_number import return_number
from lawm.run_folder import RunFolder, open_run_folder
from lawm.safe_yaml import read_yaml
from lawm.saved_run import load
from lawm.spec import DataSpec
from lawm.video import check_video_path, write_video


def run_evaluate(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: The options of :func:`lawm.cli.evaluate_arguments.add_evaluate_parser`.

    Raises:
        LawmError: No such run, no trained policy in it, no environment, no such video format, or a
            file for the numbers that may hold something else.
    """
    folder = open_run_folder(args.run)
    if args.timeout is not None and not args.timeout > 0:
        raise LawmError(f"--timeout is {args.timeout}; expected seconds above 0.")
    if args.video is not None:
        check_video_path(args.video)
    if args.json is not None:
        check_json_path(args.json)
    agent = load(folder.path, checkpoint=args.checkpoint)
    spec: DataSpec = agent.spec
    env_id = args.env_id or _environment_of(folder, spec)
    try:
        check_environment(spec, env_id, args.timeout)
        result = evaluate(
            agent,
            env_id,
            spec.action_repeat,
            episodes=args.episodes,
            seed=args.seed,
            recording=Recording() if args.video is not None else None,
            timeout=args.timeout,
            renderer=spec.renderer,
        )
    except SimulatorFault as fault:
        raise LawmError(f"the evaluation in {env_id} failed: {fault}.") from fault
    numbers = {
        "run": str(args.run),
        "checkpoint": args.checkpoint,
        "environment": env_id,
        "seed": args.seed,
        **evaluation_numbers(spec, result),
    }
    _print_table(numbers, spec, result)
    if args.checkpoint == "best" and (shared := _starts_of_best(folder) & set(result.seeds)):
        print(
            f"By {len(shared)} of these starts `best` was chosen among the policies of the run, so "
            "its return on them is too high; another --seed measures it on others."
        )
    if args.video is not None:
        write_video(result.videos[0], args.video, result.video_fps)
        print(f"Video: {args.video}")
    if args.json is not None:
        write_json(args.json, numbers)
    return 0


def _evaluation_of(folder: RunFolder) -> dict[str, Any]:
    """What its configuration says."""
    config = read_yaml(folder.config_file)
    settings = config.get("evaluation") if isinstance(config, dict) else None
    return settings if isinstance(settings, dict) else {}


def _starts_of_best(folder: RunFolder) -> set[int]:
    """The start seeds of the evaluations along the run."""
    settings = _evaluation_of(folder)
    first, num = settings.get("seed"), settings.get("episodes")
    if not isinstance(first, int) or not isinstance(num, int):
        return set()
    return set(range(first, first + num))


def _environment_of(folder: RunFolder, spec: DataSpec) -> str:
    """The environment that the run was measured in; where it was in none, that of the data."""
    chosen = _evaluation_of(folder).get("env_id")
    if isinstance(chosen, str) and chosen not in ("", "none"):
        return chosen
    if not spec.env_id:
        raise LawmError(
            f"neither evaluation.env_id in {folder.config_file} nor the data of the run names an "
            "environment; give one with --env_id, such as --env_id dm_control/cheetah-run."
        )
    return spec.env_id


def _print_table(numbers: dict[str, Any], spec: DataSpec, result: EvaluationResult) -> None:
    title = f"{numbers['run']} in {numbers['environment']}, checkpoint {numbers['checkpoint']}"
    table = Table("episode", "start seed", "steps", "return", title=title, title_justify="left")
    rows = zip(result.seeds, result.lengths, result.returns, strict=True)
    for index, (seed, length, value) in enumerate(rows):
        table.add_row(str(index), str(seed), str(length), return_number(value))
    console = Console()
    console.print(table)
    console.print(f"Return {return_text(numbers)}.")
    if numbers["normalised"] is not None:
        console.print(
            f"Episodes of the data: mean {return_number(spec.return_mean)}, "
            f"best {return_number(spec.return_best)}."
        )


__all__ = ["run_evaluate"]
