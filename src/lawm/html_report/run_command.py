"""Commands about a run, as they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ALLOW = "--allow-import"


def run_command(starts: Sequence[Mapping[str, Any]], *words: str | Path) -> str:
    """A command with the modules behind it that the run was allowed to import.

    Args:
        starts: Of ``provenance.json``, oldest first.
        words: Of the command.
    """
    return shlex.join([str(word) for word in words] + _allowed(starts))


def _allowed(starts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options of the newest start; none where its command is unknown."""
    command = starts[-1].get("command") if starts else None
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a quotation without an end: lawm wrote no such command
        return []
    found = []
    for place, word in enumerate(words):
        option, _, name = word.partition("=")
        names = [name] if name else words[place + 1 : place + 2]
        if names and option.replace("_", "-") == _ALLOW:
            found += [_ALLOW, *names]
    return found


__all__ = ["run_command"]
