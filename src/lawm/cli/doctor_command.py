"""`lawm doctor`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from lawm.doctor import Check, diagnose

CANNOT_FIT = 1
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def run_doctor(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        1 if `lawm fit` could not run here.
    """
    checks = diagnose(args.config, args.run_dir)
    can_fit = all(check.level != "error" for check in checks)
    if args.json:
        print(json.dumps({"can_fit": can_fit, "checks": [asdict(c) for c in checks]}, indent=2))
    else:
        _print(checks, args.config, can_fit)
    return 0 if can_fit else CANNOT_FIT


def _print(checks: list[Check], config: object, can_fit: bool) -> None:
    table = Table("check", "", "found and what to do")
    for check in checks:
        text = check.found if not check.fix else f"{check.found}\n{check.fix}"
        table.add_row(check.name, f"[{_COLOURS[check.level]}]{check.level}", text)
    console = Console()
    console.print(table)
    verdict = "can" if can_fit else "cannot"
    console.print(f"`lawm fit --config {config}` {verdict} run here.", soft_wrap=True)


__all__ = ["run_doctor"]
