"""Options of `lawm bench`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lawm.cli.label_bench_arguments import add_label_bench_parser


def add_bench_parser(commands: Any) -> None:  # noqa: ANN401 (argparse's type is private)
    """Add the `bench` command.

    Args:
        commands: What ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench", help="measure speed and label efficiency", description="Measure lawm."
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    throughput: argparse.ArgumentParser = kinds.add_parser(
        "throughput",
        help="updates and transitions per second beside a stock Dreamer",
        description=(
            "Time both stages, the same without fused parts, and a stock eager Dreamer of the "
            "same widths, update by update in turn. Use a quiet machine."
        ),
    )
    add = throughput.add_argument
    add("--sizes", nargs="+", choices=["small", "12m"], default=["small"], help="of the model")
    add("--batch_sizes", nargs="+", type=int, default=[16, 64], help="stage 1 (default 16 64)")
    add("--windows", nargs="+", type=int, default=[32], help="stage 1 (default 32)")
    add("--starts", nargs="+", type=int, default=[256], help="stage 2, start states (default 256)")
    add("--horizons", nargs="+", type=int, default=[10], help="stage 2 (default 10)")
    add("--stages", nargs="+", type=int, choices=[1, 2], default=[1, 2], help="which")
    add("--episodes", nargs="+", type=int, default=[120], help="of 500 steps in the data set")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default auto")
    add("--precision", choices=["32-true", "bf16-mixed"], default="32-true", help="default 32-true")
    add("--compile", choices=["auto", "off"], default="auto", help="of lawm; default auto")
    add("--threads", type=int, help="CPU threads; default all cores")
    add("--repeats", type=int, default=20, help="timed updates of each (default 20)")
    add("--lightning", action="store_true", help="also what Lightning's loop costs")
    add("--json", type=Path, metavar="FILE", help="write the rows here too")
    add_label_bench_parser(kinds)


__all__ = ["add_bench_parser"]
