"""`lawm data label`, `split`, `merge` and `strip`: which episodes, and with which labels.

All write whole files or none, and replace nothing without ``--overwrite``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_edit_parsers(commands: Subparsers) -> None:
    """Add the four to the commands of `lawm data`."""
    _add_label(commands)
    _add_split(commands)
    _add_merge(commands)
    _add_strip(commands)


def _add_label(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "label",
        allow_abbrev=False,
        help="choose which episodes carry labels, without copying data",
        description="Choose labelled and held-out episodes as `lawm fit` does and name them in a "
        "small file beside the shards: lawm fit --data.shards mine.h5 --data.labels labels.json. "
        "With one seed a smaller budget is part of a larger one.",
    )
    add = parser.add_argument
    add("paths", type=Path, nargs="+", metavar="SHARD.h5", help="as in data.shards")
    add("--out", type=Path, required=True, metavar="LABELS.json", help="the file to write")
    add("--labels", default="10%", help="10%%, '12 episodes' or all (%(default)s)")
    add("--label-seed", type=int, default=0, help="which episodes (%(default)s)")
    add(
        "--label-choice",
        default="random",
        choices=("random", "coverage"),
        help="coverage: those that the observations of the others lie near to (%(default)s)",
    )
    add("--held-out", default="5%", help="episodes to measure on, or none (%(default)s)")
    add("--overwrite", action="store_true", help="replace an existing file")


def _add_split(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "split",
        allow_abbrev=False,
        help="write the episodes of a shard into two, to train on and to measure on",
        description="Write two shards, so that what is measured on is not in the file that is "
        "trained on, or so that episodes of one origin are in a file of their own. "
        "To set episodes aside without a copy, `lawm data label` has --held-out.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SRC.h5", help="the shard")
    add("train", type=Path, metavar="TRAIN.h5", help="the shard to write")
    add("held_out", type=Path, metavar="HELD_OUT.h5", help="the other one")
    add("--held-out", dest="budget", default="10%", help="10%% or '12 episodes' (%(default)s)")
    add("--source", dest="origin", metavar="GLOB", help="instead: those of such a source id")
    add("--seed", type=int, default=0, help="which episodes (%(default)s)")
    add("--overwrite", action="store_true", help="replace existing shards")


def _add_merge(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "merge",
        allow_abbrev=False,
        help="write the episodes of several shards into one",
        description="Write one shard with the episodes of several of one layout, in their order.",
    )
    add = parser.add_argument
    add("paths", type=Path, nargs="+", metavar="SHARD.h5", help="the sources")
    add("--out", type=Path, required=True, metavar="DST.h5", help="the shard to write")
    add("--overwrite", action="store_true", help="replace an existing shard")


def _add_strip(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "strip",
        allow_abbrev=False,
        help="write a copy without actions, rewards or both",
        description="Write a copy of a shard without actions, rewards or both: then they are not "
        "in the file at all, and not only hidden.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SRC.h5", help="the shard")
    add("path", type=Path, metavar="DST.h5", help="the shard to write")
    add("--actions", action="store_true", help="take the actions away")
    add("--rewards", action="store_true", help="take the rewards away")
    add("--keep", type=Path, metavar="LABELS.json", help="but not from the episodes it names")
    add("--overwrite", action="store_true", help="replace an existing shard")


def run_label(args: argparse.Namespace) -> int:
    """Write a label file."""
    from lawm.data_modules.label_file import is_label_file, write_label_file
    from lawm.data_modules.label_plan import LabelPlan
    from lawm.data_modules.shard_headers import read_headers
    from lawm.errors import LawmError

    if args.label_seed < 0:
        raise LawmError(f"--label-seed is {args.label_seed}; expected a whole number from 0.")
    if is_label_file(args.labels):
        raise LawmError(
            f"--labels is {args.labels}, a label file; expected a number of episodes, as 10% or "
            "'12 episodes'. This command makes such a file: `lawm fit --data.labels` reads it."
        )
    headers = read_headers(args.paths, [])
    plan = LabelPlan(args.labels, args.held_out, args.label_seed, args.label_choice)
    split = plan.split(headers)
    settings = {
        "labels": args.labels,
        "label_seed": args.label_seed,
        "label_choice": args.label_choice,
        "held_out": args.held_out,
    }
    write_label_file(args.out, headers, split, settings=settings, overwrite=args.overwrite)
    print(
        f"{args.out}: {len(split.labelled)} labelled and {len(split.held_out)} held-out of "
        f"{sum(h.episodes.num_episodes for h in headers)} episodes; train with "
        f"--data.labels {args.out}"
    )
    return 0


def run_split(args: argparse.Namespace) -> int:
    """Write the two parts of a shard."""
    from lawm.data_modules.episode_copy import split_shard
    from lawm.errors import LawmError

    if args.seed < 0:
        raise LawmError(f"--seed is {args.seed}; expected a whole number from 0.")
    train, held_out = split_shard(
        args.source,
        args.train,
        args.held_out,
        budget=args.budget,
        seed=args.seed,
        source=args.origin,
        overwrite=args.overwrite,
    )
    print(f"{args.train}: {train} episodes; {args.held_out}: {held_out} episodes")
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """Write one shard from several."""
    from lawm.data_modules.episode_copy import merge_shards

    num = merge_shards(args.paths, args.out, overwrite=args.overwrite)
    print(f"{args.out}: {num} episodes from {len(args.paths)} shards")
    return 0


def run_strip(args: argparse.Namespace) -> int:
    """Write a shard without labels."""
    from lawm.data_modules.episode_copy import strip_shard

    num = strip_shard(
        args.source,
        args.path,
        actions=args.actions,
        rewards=args.rewards,
        keep=args.keep,
        overwrite=args.overwrite,
    )
    gone = " and ".join(name for name in ("actions", "rewards") if getattr(args, name))
    print(f"{args.path}: without {gone}, but for {num} episodes")
    return 0


__all__ = ["add_edit_parsers", "run_label", "run_merge", "run_split", "run_strip"]
