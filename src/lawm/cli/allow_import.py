"""`--allow-import` of the commands beside `lawm fit`; light, so that `lawm --help` is fast."""

from __future__ import annotations

import argparse


def add_allow_import(parser: argparse.ArgumentParser) -> None:
    """Add the option; the command line imports what it names before the command runs."""
    parser.add_argument(
        "--allow-import",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module first, which may register an environment of yours; repeatable",
    )


__all__ = ["add_allow_import"]
