"""What makes a baseline what it is, whatever else is set for all runs of a grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lawm.safe_yaml import read_yaml

# Without the value of its preset a method would be another one, mostly lawm under a false name
DEFINING = (
    "method",
    "pseudo_labels",
    "data.labels",
    "data.labelled_ratio",
    "world_model.model.transition_input",
)


def definition(preset: Path, merged: Mapping[str, Any]) -> tuple[str, ...]:
    """The defining settings of a preset that other files and settings have changed.

    Args:
        preset: Of the method.
        merged: The configuration with all that was given behind it.

    Returns:
        As "key=value", to be given behind all others.
    """
    stated = read_yaml(preset) or {}
    found = []
    for key in DEFINING:
        value = _at(stated, key)
        if value is not None and value != _at(merged, key):
            found.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return tuple(found)


def _at(content: Any, key: str) -> Any:  # noqa: ANN401
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


__all__ = ["definition"]
