"""Options of `lawm bench labels`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lawm.cli.allow_import import add_allow_import

DESCRIPTION = """\
Return against the number of labels: tasks x methods x label budgets x seeds, as many `lawm fit`
as that takes, then a table and a plot. The plan is printed first. Stopped by whatever, the same
command goes on where it was; finished runs are taken from their reports."""

EPILOG = """\
examples:
  see what would run:
    lawm bench labels --config conf/cheetah.yaml --out runs/labels --dry-run
  two tasks, two methods, one budget, one setting changed for all:
    lawm bench labels --config conf/cheetah.yaml --config conf/walker.yaml --methods oracle,lawm \\
        --fractions 10% --seeds 0,1,2 --set policy.horizon=10 --out runs/labels
  another setting of stage 2, on the world models of the grid before:
    lawm bench labels --config conf/cheetah.yaml --set policy.prior_weight=0.1 \\
        --world-models-from runs/labels --out runs/prior
  does everything work?
    lawm bench labels --config conf/cheetah.yaml --preset conf/debug.yaml --seeds 0 --out runs/try
  table and plot of finished grids, nothing is trained:
    lawm bench labels --from results/label_efficiency.csv --out runs/figure

A method is a preset of that name beside the task's configuration, or in conf/ below the current
folder; lawm needs none. The oracle has all labels, hence one run a seed. Exit code 1: runs failed;
75 or 130: stopped, to be gone on with."""


def add_label_bench_parser(kinds: Any) -> None:  # noqa: ANN401 (argparse's type is private)
    """Add `bench labels`.

    Args:
        kinds: What ``add_subparsers`` of `lawm bench` returned.
    """
    parser: argparse.ArgumentParser = kinds.add_parser(
        "labels",
        help="return against the number of labels, beside the baselines",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        *("-c", "--config"),
        action="append",
        default=[],
        type=Path,
        metavar="TASK",
        help="configuration of a task, whose name is that of the file; repeatable",
    )
    add(
        "--methods",
        default="oracle,lawm,labelled_only,pseudo_label,masked_action,bc,bc_pseudo_label",
        help="names with commas (default %(default)s)",
    )
    add("--fractions", default="2%,10%", help="labelled share of the episodes (default 2%%,10%%)")
    add("--seeds", default="0,1,2", help="of training and of the labels (default %(default)s)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a setting of `lawm fit` for every run; repeatable",
    )
    add(
        "--preset",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a configuration that stacks on every run, after the method's; repeatable",
    )
    add(
        "--jobs",
        default="auto",
        help="runs at a time; auto: one a GPU, or without GPUs as many as the cores allow",
    )
    add(
        "--threads",
        type=int,
        help="CPU threads a run (default 1; on GPUs its share of the cores)",
    )
    add("--out", type=Path, required=True, metavar="FOLDER", help="run folders, table and plot")
    add(
        "--csv",
        type=Path,
        metavar="FILE",
        help="row a run (default label_efficiency.csv in --out)",
    )
    add(
        "--world-models-from",
        type=Path,
        metavar="FOLDER",
        help="the --out of another grid, whose finished world models are taken instead of training "
        "them anew; for other settings of stage 2",
    )
    add("--dry-run", action="store_true", help="print the plan and stop")
    add_allow_import(parser)
    add(
        "--rerun-stale",
        action="store_true",
        help="train runs anew that were made with other settings or data; the old ones are kept",
    )
    add(
        "--from",
        nargs="+",
        default=[],
        type=Path,
        metavar="CSV",
        dest="sources",
        help="make table and plot of these; nothing is trained",
    )


__all__ = ["add_label_bench_parser"]
