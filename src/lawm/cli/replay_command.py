"""`lawm replay`: what in the batch of a failed update is not finite."""

from __future__ import annotations

import argparse
import math

from rich.console import Console
from rich.table import Table

from lawm.replay import Replay, replay

REPRODUCED = 1
SHOWN = 20  # of rows and parameters


def run_replay(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        1 if something was not finite again, 0 if everything was finite.

    Raises:
        LawmError: The files cannot be read.
    """
    outcome = replay(args.batch)
    print_replay(outcome, Console())
    return REPRODUCED if outcome.is_reproduced else 0


def print_replay(outcome: Replay, console: Console) -> None:
    """Tables of the loss's terms and of the rows and parameters at fault."""
    info = outcome.fault.info
    table = Table("term", "value", title=f"{outcome.fault.stage}, step {info.get('step')}")
    for name, value in outcome.terms.items():
        mark = "" if math.isfinite(value) else "  <- not finite"
        table.add_row(name, f"{value:.6g}{mark}")
    console.print(table)
    sources = info.get("rows", [])
    rows = [
        f"row {row}: {sources[row] if row < len(sources) else 'unknown'}"
        for row in outcome.rows_not_finite
    ]
    _print_list(console, "Rows that are not finite by themselves", rows)
    _print_list(console, "Parameters without a finite gradient", outcome.gradients_not_finite)
    if outcome.is_reproduced:
        console.print("The fault is reproduced.")
    else:
        console.print(
            f"Everything is finite here; the run had loss {info.get('loss')} and gradient norm "
            f"{info.get('gradient_norm')}."
        )


def _print_list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(f"{title} ({len(lines)}):")
        for line in lines[:SHOWN]:
            console.print(f"  {line}", soft_wrap=True)
        if len(lines) > SHOWN:
            console.print(f"  and {len(lines) - SHOWN} more")


__all__ = ["print_replay", "run_replay"]
