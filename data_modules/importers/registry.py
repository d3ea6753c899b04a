"""The formats that can be imported, and which of them a source is."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.importers.importer import Importer, Recognition
from lawm.data_modules.importers.recognition import recognise_hdf5
from lawm.data_modules.safe_hdf5 import SafeHdf5
from lawm.errors import LawmError

# Name to module; a line adds a format. The module is loaded when it is needed.
FORMATS = {
    "numpy": "plain_numpy",
    "d4rl": "d4rl",
    "minari": "minari",
    "robomimic": "robomimic",
    "ogbench": "ogbench",
    "laom": "laom",
    "v-d4rl": "vd4rl",
    "exorl": "exorl",
    "dreamerv3": "dreamerv3",
    "dreamerv2": "dreamerv2",
    "aime": "aime",
    "stable-worldmodel": "stable_worldmodel",
    "lerobot": "lerobot",
    "rl-unplugged": "rl_unplugged",
    "video": "video",
}


def importer_named(name: str) -> Importer:
    """The importer of a format.

    Raises:
        LawmError: There is no such format; lists them.
    """
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise LawmError(f"--format is {name!r}; expected one of {', '.join(FORMATS)}.{guess}")
    module = importlib.import_module(f"lawm.data_modules.importers.{FORMATS[name]}")
    importer: Importer = module.IMPORTER
    assert importer.name == name, (importer.name, name)
    return importer


def detect_format(source: Path) -> tuple[Importer, Recognition]:
    """The one format that a source is of, judged by its content.

    Raises:
        LawmError: It is of none or of several formats; says what was looked for.
    """
    tried = {name: importer_named(name).recognises(source) for name in FORMATS}
    found = [name for name, recognition in tried.items() if recognition.found]
    if len(found) == 1:
        return importer_named(found[0]), tried[found[0]]
    if found:
        reasons = "; ".join(f"{name} ({tried[name].reason})" for name in found)
        raise LawmError(
            f"{source} could be of {len(found)} formats: {reasons}. Choose one with --format."
        )
    if recognise_hdf5(source, _is_shard).found:
        raise LawmError(f"{source} is a shard of lawm's already. Train on it as it is.")
    reasons = "".join(f"\n  {name}: {tried[name].reason}" for name in tried)
    raise LawmError(
        f"{source} is of no format that lawm knows. What was looked for, and what was found:"
        f"{reasons}\nForce one with --format, or see docs/bring-your-data.md for writing your own."
    )


def _is_shard(file: SafeHdf5) -> Recognition:
    return Recognition(file.attribute("format") == fmt.FORMAT, "its attribute `format`")


__all__ = ["FORMATS", "detect_format", "importer_named"]
