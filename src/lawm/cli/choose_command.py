"""`lawm data choose`: which trajectories to label first, before any is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_choose_parser(commands: Subparsers) -> None:
    """Add `choose` to the commands of `lawm data`."""
    parser = commands.add_parser(
        "choose",
        allow_abbrev=False,
        help="tell which episodes are worth labelling, before any is",
        description="List episodes in the order in which to label them: each next one is that "
        "which brings the labelled ones nearest to the observations of all. Reads observations "
        "alone. What `--data.label_choice coverage` does where the labels are there already.",
    )
    add = parser.add_argument
    add("paths", type=Path, nargs="+", metavar="SHARD.h5", help="all that will be trained on")
    add("--episodes", type=int, default=12, help="how many to list (%(default)s)")
    add("--seed", type=int, default=0, help="of the observations compared with (%(default)s)")


def run_choose(args: argparse.Namespace) -> int:
    """Print a table."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from lawm.data_modules.label_coverage import coverage_order
    from lawm.data_modules.shard_headers import read_headers
    from lawm.errors import LawmError

    if args.seed < 0:
        raise LawmError(f"--seed is {args.seed}; expected a whole number from 0.")
    headers = read_headers(args.paths, [])
    first = np.cumsum([0, *(header.episodes.num_episodes for header in headers)])
    everything = np.arange(first[-1])
    if not 1 <= args.episodes <= len(everything):
        raise LawmError(
            f"--episodes is {args.episodes}; expected 1 to {len(everything)}, as many as there "
            f"are in {', '.join(map(str, args.paths))}."
        )
    table = Table("order", "shard", "episode", "source", "transitions", "actions")
    for place, number in enumerate(
        coverage_order(headers, everything, everything, args.episodes, seed=args.seed)
    ):
        shard = int(np.searchsorted(first, number, side="right")) - 1
        index, episode = headers[shard].episodes, int(number - first[shard])
        table.add_row(
            str(place + 1),
            str(headers[shard].path),
            str(episode),
            index.source_id[episode],
            str(index.lengths[episode]),
            "known" if index.has_action[episode] else "none",
        )
    Console().print(table)
    return 0


__all__ = ["add_choose_parser", "run_choose"]
