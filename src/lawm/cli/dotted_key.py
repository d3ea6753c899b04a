"""A value in nested settings, by its dotted key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at_key(content: Any, key: str) -> tuple[Any, bool]:  # noqa: ANN401
    """The value of a dotted key in a configuration, None without, and whether it is there."""
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return None, False
        content = content[part]
    return content, True


__all__ = ["at_key"]
