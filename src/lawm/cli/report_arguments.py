"""Options of `lawm report`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_report_parser(commands: Any) -> None:  # noqa: ANN401 (argparse's type is private)
    """Add the `report` command.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        allow_abbrev=False,
        help="one HTML page of a run or of a folder of runs: lawm report RUN",
        description="Write one self-contained HTML page: curves, latent-action panel, open-loop "
        "pictures, videos and configuration of a run in any state; or tables and curves of all "
        "runs in a folder, or of those that are named.",
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN|FOLDER",
        help="a run folder, a folder with runs in it, or several to compare",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default report.html in the folder; several runs need it",
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="write the page of each run, too, into its folder, and link it",
    )


__all__ = ["add_report_parser"]
