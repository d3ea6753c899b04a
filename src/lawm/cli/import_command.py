"""`lawm data import`: a shard from somebody else's trajectories."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lawm.cli.allow_import import add_allow_import
from lawm.errors import LawmError

if TYPE_CHECKING:
    from rich.console import Console

    from lawm.data_modules.importers.import_options import ImportOptions
    from lawm.data_modules.importers.import_report import ImportReport

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
examples:
  lawm data import --dry-run mine.npz mine.h5
  lawm data import mine.npz mine.h5 --env dm_control/cheetah-run --action-repeat 2
  lawm data import recordings/ mine.h5 --keys state camera=image --report mine.json
  lawm data import clips/ more.mp4 video.h5 --size 64 --env dm_control/walker-walk

Format and action convention are detected from the content; what cannot be detected is asked for.
docs/bring-your-data.md has a command for every format.
"""


def add_import_parser(commands: Subparsers) -> None:
    """Add `import` to the commands of `lawm data`."""
    parser = commands.add_parser(
        "import",
        allow_abbrev=False,
        help="make a shard from another format",
        description="Make a shard from trajectories in another format.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "sources",
        type=Path,
        nargs="+",
        metavar="SRC",
        help="a file or folder; of videos also several",
    )
    add("path", type=Path, metavar="DST.h5", help="the shard to write")
    add("--format", default="", metavar="NAME", help="of the source (detected from its content)")
    add("--dry-run", action="store_true", help="show what would be done, write nothing")
    add("--report", type=Path, metavar="FILE.json", help="also write the report there")
    add("--overwrite", action="store_true", help="replace an existing shard and report")
    add(
        "--keys",
        nargs="+",
        default=[],
        metavar="KEY[=NAME]",
        help="observation keys, renamed or as they are (all vectors and images)",
    )
    add("--env", default="", metavar="ID", help="where it is from; gives timestep and bounds")
    add("--action-repeat", type=int, metavar="N", help="control steps per action (the source's, 1)")
    add(
        "--control-timestep",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds of a control step, where neither --env nor the source tells",
    )
    add(
        "--action-bounds",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of every action dimension (the environment's, the source's, or -1 and 1)",
    )
    add("--measure-bounds", action="store_true", help="take the range that the actions span")
    add(
        "--action-convention",
        choices=("taken_at", "led_into"),
        help="what an action that shares its row with an observation is (detected)",
    )
    add("--action-free", action="store_true", help="leave the actions out")
    add("--relabel", action="store_true", help="ExORL: rewards of the task in --env, from states")
    add("--stored-rewards", action="store_true", help="ExORL: rewards of the exploration task")
    add("--filter", default="", metavar="NAME", help="a part that the source names, as robomimic's")
    add(
        "--max-episode-steps",
        type=int,
        default=0,
        metavar="N",
        help="where to cut old D4RL files, which do not mark their time limits",
    )
    add("--max-episodes", type=int, metavar="N", help="no more than these, the first")
    add_allow_import(parser)
    _add_video_arguments(parser)


def _add_video_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "videos", "with --env or --control-timestep, frames match that step"
    ).add_argument
    add(
        "--size",
        default="64",
        metavar="H[xW]",
        help="of the pictures that are stored (%(default)s)",
    )
    add(
        "--aspect",
        choices=("crop", "letterbox"),
        default="crop",
        help="pictures of another shape: their centre, or black bars (%(default)s)",
    )
    add("--fps", type=float, default=0.0, metavar="F", help="steps a second (the video's frames)")
    add("--every", type=int, default=0, metavar="N", help="take frames by number, not by time")
    add(
        "--cut-threshold",
        type=float,
        default=0.15,
        metavar="X",
        help="change of the picture that is a cut, 1 for none (%(default)s)",
    )
    add(
        "--min-steps",
        type=int,
        default=1,
        metavar="N",
        help="drop shorter trajectories (%(default)s)",
    )


def run_import_command(args: argparse.Namespace) -> int:
    """Run what :func:`add_import_parser` parsed.

    Raises:
        LawmError: The user's mistake, in sentences.
    """
    from rich.console import Console

    from lawm.data_modules.episode_copy import refuse_same
    from lawm.data_modules.importers.run_import import plan_import

    targets = [args.path] if args.report is None else [args.path, args.report]
    refuse_same(args.sources, targets)
    for target in filter(Path.exists, targets):
        for source in args.sources:
            if source.resolve() in target.resolve().parents:
                raise LawmError(
                    f"{target} exists in {source}, which is imported, and may be a part of it. "
                    "Write to another name."
                )
    if args.report is not None and args.report.exists() and not args.overwrite:
        raise LawmError(
            f"{args.report} exists already and is left as it is. Choose another name, or allow it "
            "with --overwrite."
        )
    options = import_options(args)
    console = Console()
    if args.dry_run:
        report = plan_import(args.sources[0], args.path, options)
    else:
        report = _import_with_progress(args.sources[0], args.path, options, console)
    console.print(report.table())
    if args.report is not None:
        _write_json(args.report, report)
    return 0


def import_options(args: argparse.Namespace) -> ImportOptions:
    """What was asked for.

    Raises:
        LawmError: Arguments that contradict each other or are out of range.
    """
    from lawm.data_modules.importers.import_options import ImportOptions
    from lawm.data_modules.importers.video_options import VideoOptions, parse_size

    return ImportOptions(
        format=args.format,
        env_id=args.env,
        action_repeat=args.action_repeat,
        control_timestep=args.control_timestep,
        action_bounds=tuple(args.action_bounds) if args.action_bounds else None,
        measure_bounds=args.measure_bounds,
        action_convention=args.action_convention,
        keys=tuple(args.keys),
        filter=args.filter,
        max_episode_steps=args.max_episode_steps,
        max_episodes=args.max_episodes,
        action_free=args.action_free,
        relabel=args.relabel,
        stored_rewards=args.stored_rewards,
        overwrite=args.overwrite,
        more_sources=tuple(args.sources[1:]),
        video=VideoOptions(
            size=parse_size(args.size),
            aspect=args.aspect,
            fps=args.fps,
            every=args.every,
            cut_threshold=args.cut_threshold,
            min_steps=args.min_steps,
        ),
    )


def _import_with_progress(
    source: Path, path: Path, options: ImportOptions, console: Console
) -> ImportReport:
    """A bar on a terminal; nothing in a log file."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from lawm.data_modules.importers.run_import import run_import

    columns = (
        TextColumn("import"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("episodes"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("import", total=None)
        return run_import(
            source,
            path,
            options,
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def _write_json(path: Path, report: ImportReport) -> None:
    try:
        path.write_text(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise LawmError(f"The report {path} cannot be written: {error}.") from error


__all__ = ["add_import_parser", "import_options", "run_import_command"]
