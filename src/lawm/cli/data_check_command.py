"""`lawm data check`: is everything in a shard as it should be?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

UNSOUND = 1


def add_check_parser(commands: Subparsers) -> None:
    """Add `check` to the commands of `lawm data`."""
    parser = commands.add_parser(
        "check",
        allow_abbrev=False,
        help="verify shards: structure, ranges, checksums, episode ends",
        description="Read everything in shards, each in a process of its own, and say what is "
        "wrong. Ends with 0 if all are sound and with 1 if not. For files from elsewhere: a "
        "damaged or hostile one can do no harm here.",
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="SHARD.h5")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run_check(args: argparse.Namespace) -> int:
    """Print the verdicts."""
    import json
    from dataclasses import asdict

    from lawm.data_modules.shard_verdict import check_shards

    verdicts = check_shards(args.paths)
    ok = all(verdict.ok for verdict in verdicts)
    if args.json:
        print(json.dumps({"ok": ok, "shards": [asdict(v) for v in verdicts]}, indent=1))
        return 0 if ok else UNSOUND
    for verdict in verdicts:
        if not verdict.ok:
            print(f"FAULTY  {verdict.error}")
            continue
        print(
            f"sound   {verdict.path}: {verdict.episodes} episodes, {verdict.transitions} "
            f"transitions; {verdict.with_action} episodes with actions, {verdict.with_reward} with "
            f"rewards; {verdict.terminated} terminated, {verdict.truncated} truncated"
        )
        for warning in verdict.warnings:
            print(f"        note: {warning}")
    return 0 if ok else UNSOUND


__all__ = ["add_check_parser", "run_check"]
