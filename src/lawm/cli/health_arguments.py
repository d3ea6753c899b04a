"""Options of `lawm doctor` and `lawm replay`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lawm.cli.allow_import import add_allow_import


def add_health_parsers(commands: Any) -> None:  # noqa: ANN401 (argparse's type is private)
    """Add the `doctor` and `replay` commands.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    doctor: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="what this machine has, and what would fail on it",
        description="Check versions, devices, rendering, compiler, memory and disk. Exit code 1 if "
        "`lawm fit` could not run here.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.add_argument(
        "--config",
        type=Path,
        default=Path("conf/cheetah.yaml"),
        metavar="FILE",
        help="what would be trained (default conf/cheetah.yaml)",
    )
    doctor.add_argument(
        "--run_dir", type=Path, default=Path("runs"), help="where runs will lie (default runs)"
    )
    replay: argparse.ArgumentParser = commands.add_parser(
        "replay",
        allow_abbrev=False,
        help="compute a batch again whose loss was not finite",
        description="Compute loss and gradients of the batch that a run left in its faults/ folder "
        "when it stopped, and tell which terms, rows and parameters are not finite. Exit code 1 "
        "if the fault is reproduced.",
    )
    replay.add_argument("batch", type=Path, metavar="FILE.npz", help="in faults/ of a run folder")
    add_allow_import(replay)


__all__ = ["add_health_parsers"]
