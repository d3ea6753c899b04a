"""Options of `lawm evaluate`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lawm.cli.allow_import import add_allow_import


def add_evaluate_parser(commands: Any) -> None:  # noqa: ANN401 (argparse's type is private)
    """Add the `evaluate` command.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="measure a trained policy in its environment: lawm evaluate RUN",
        description="Run a trained policy for whole episodes and print its return.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a `lawm fit`")
    parser.add_argument("--episodes", type=int, default=10, help="how many (default 10)")
    parser.add_argument(
        "--seed", type=int, default=1000, help="episode i starts from SEED + i (default 1000)"
    )
    parser.add_argument(
        "--checkpoint",
        choices=["last", "selected", "best"],
        default="last",
        help="the newest policy (default), the one selected by imagined reward, or the best one by "
        "return in the environment",
    )
    parser.add_argument(
        "--env_id",
        help="environment; default the run's own evaluation.env_id, else the one that the data "
        "names",
    )
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="film the first episode (.mp4 or .gif)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="kill simulators that do not answer for so long (default 60)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_allow_import(parser)


__all__ = ["add_evaluate_parser"]
