"""`lawm data`: collect, import and look at trajectory shards.

What is heavy is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lawm.cli.allow_import import add_allow_import
from lawm.cli.choose_command import add_choose_parser, run_choose
from lawm.cli.data_check_command import add_check_parser, run_check
from lawm.cli.data_edit_commands import (
    add_edit_parsers,
    run_label,
    run_merge,
    run_split,
    run_strip,
)
from lawm.cli.import_command import add_import_parser, run_import_command
from lawm.cli.render_command import add_camera, add_render_parser, run_render

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

COLLECT_EPILOG = """\
examples:
  lawm data collect --env dm_control/cheetah-run --steps 50000 random.h5
  lawm data collect --env dm_control/cheetah-run --policy sac --steps 80000 replay.h5
  lawm data collect --env dm_control/walker-walk --pixels 64 --steps 20000 pixels.h5
  lawm data collect --env dm_control/walker-walk --policy sac --steps 100000 \\
      --keep rollouts --checkpoint-every 20000 --rollout-episodes 10 rollouts.h5

Ctrl-C writes the whole episodes gathered so far. SAC needs `pip install -e '.[collect]'`.
"""


def add_data_parser(subparsers: Subparsers) -> None:
    """Add `data` and its commands to the parser of `lawm`."""
    data = subparsers.add_parser(
        "data", help="collect, import and look at trajectories", allow_abbrev=False
    )
    commands = data.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    _add_collect(commands)
    add_render_parser(commands)
    add_import_parser(commands)
    _add_info(commands)
    add_check_parser(commands)
    add_choose_parser(commands)
    add_edit_parsers(commands)


def run_data(args: argparse.Namespace) -> int:
    """Run the command that :func:`add_data_parser` parsed.

    Raises:
        LawmError: The user's mistake, in sentences.
    """
    run = {
        "collect": _run_collect,
        "render": run_render,
        "import": run_import_command,
        "info": _run_info,
        "check": run_check,
        "choose": run_choose,
        "label": run_label,
        "split": run_split,
        "merge": run_merge,
        "strip": run_strip,
    }
    return run[args.data_command](args)


def _add_collect(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "collect",
        allow_abbrev=False,
        help="act in dm_control and keep the trajectories",
        description="Collect real trajectories with a behaviour policy into a shard.",
        epilog=COLLECT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("path", type=Path, metavar="SHARD.h5", help="the shard to write")
    add("--env", required=True, metavar="ID", help="such as dm_control/cheetah-run")
    add("--policy", choices=("random", "sac"), default="random", help="who acts (%(default)s)")
    add("--steps", type=int, default=10_000, help="agent steps (%(default)s)")
    add("--action-repeat", type=int, default=2, help="control steps per action (%(default)s)")
    add("--seed", type=int, default=0, help="of starts, networks and sampling (%(default)s)")
    add(
        "--keep",
        choices=("replay", "rollouts", "both"),
        default="replay",
        help="of sac: its whole replay as it learns, rollouts of checkpoints, both (%(default)s)",
    )
    add(
        "--checkpoint-every",
        type=int,
        default=10_000,
        metavar="STEPS",
        help="agent steps from one rolled-out checkpoint to the next (%(default)s)",
    )
    add(
        "--rollout-episodes",
        type=int,
        default=5,
        metavar="NUM",
        help="episodes of each checkpoint (%(default)s)",
    )
    add("--store-physics", action="store_true", help="keep simulator states, to render from")
    add("--pixels", type=int, metavar="SIZE", help="also keep pictures of SIZE x SIZE, such as 64")
    add_camera(parser)
    add("--no-states", action="store_true", help="keep the pictures alone")
    add("--overwrite", action="store_true", help="replace an existing shard")
    add_allow_import(parser)


def _add_info(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "info",
        allow_abbrev=False,
        help="show what shards hold",
        description="Verify shards and show what they hold, with a histogram of the returns.",
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="SHARD.h5")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the histogram")


def _run_collect(args: argparse.Namespace) -> int:
    from lawm.data_modules.collect import CollectConfig, collect
    from lawm.data_modules.shard_info import summarise_returns

    options = {k: v for k, v in vars(args).items() if k in CollectConfig.__dataclass_fields__}
    report = collect(CollectConfig(**options))
    print(
        f"{report.path}: {len(report.returns)} episodes, {report.num_steps} steps; returns: "
        f"{summarise_returns(report.returns)}"
    )
    return 130 if report.interrupted else 0


def _run_info(args: argparse.Namespace) -> int:
    from rich.console import Console

    from lawm.data_modules.shard_info import describe, plot_returns
    from lawm.data_modules.shard_reader import open_shard

    console = Console()
    shards = []
    for path in args.paths:
        with open_shard(path) as shard:
            shard.check(hashes=True)
            console.print(describe(shard))
        shards.append(shard)  # closed; its index is still there
    if args.plot is not None:
        plot_returns(shards, args.plot)
        console.print(f"Histogram written to {args.plot}.")
    return 0


__all__ = ["add_data_parser", "run_data"]
