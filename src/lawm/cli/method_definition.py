"""What makes a baseline what it is, whatever else is set for all runs of a grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lawm.cli.dotted_key import at_key
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
    stated = read_yaml(preset)
    found = []
    for key in DEFINING:
        value, is_stated = at_key(stated, key)
        if is_stated and value != at_key(merged, key)[0]:
            found.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return tuple(found)


__all__ = ["definition"]
