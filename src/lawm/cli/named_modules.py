"""Finds the modules that the user wants trained before the settings are parsed.

What a class takes beside lawm's own settings is a setting as well, so the parser must know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lawm.cli.dotted_key import at_key
from lawm.errors import LawmError
from lawm.safe_yaml import read_yaml

MODULE_OPTIONS = ("stages.world_model.module", "stages.policy.module")


def named_modules(files: Sequence[Path], arguments: Sequence[str]) -> dict[str, str | None]:
    """The name by option, None where lawm's own is trained.

    Args:
        files: Configurations, the later one wins; what cannot be read names none, and is
            complained of where it is parsed.
        arguments: Of the command line, which wins over the files.
    """
    found: dict[str, str | None] = dict.fromkeys(MODULE_OPTIONS)
    for file in files:
        try:
            content = read_yaml(file) if file.is_file() else None
        except LawmError:
            continue
        for option in MODULE_OPTIONS:
            value, is_given = at_key(content, option)
            if is_given:
                found[option] = value if isinstance(value, str) else None
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if (option := name.removeprefix("--")) in found and name.startswith("--"):
            given = value if equals else "".join(arguments[place + 1 : place + 2])
            found[option] = None if given in ("", "null") else given
    return found


def require_as_found(values: Mapping[str, Any], found: Mapping[str, str | None]) -> None:
    """Refuse a name that was given in a way in which it was not found.

    Args:
        values: By option, as parsed.
        found: From :func:`named_modules`.

    Raises:
        LawmError: They differ.
    """
    for option, name in found.items():
        if values[option] != name:
            raise LawmError(
                f"{option} is `{values[option]}`, given inside another value; expected it as "
                f"`--{option} NAME` on the command line or as a key of its own in a configuration."
            )


__all__ = ["MODULE_OPTIONS", "named_modules", "require_as_found"]
