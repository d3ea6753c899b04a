"""A label budget as a file: which episodes of which shards carry labels, and which are held out.

A small JSON beside the shards, which are not copied or changed. A shard is known by the checksum of
its data and not by its name, so that the file travels with the shards and fits no others.

    {"format": "lawm-labels", "version": 1, "labels": "10%", "label_seed": 0, "held_out": "5%",
     "shards": [{"name": "mine.h5", "checksum": "...", "episodes": 160,
                 "labelled": [3, 18], "held_out": [7]}]}
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lawm.data_modules.shard_headers import ShardHeader
from lawm.data_modules.trajectory_split import EpisodeSplit
from lawm.errors import LawmError

FORMAT, VERSION = "lawm-labels", 1
MAX_BYTES = 256 << 20  # twenty million episodes
REMAKE = "Make it anew with `lawm data label`."


@dataclass(frozen=True)
class ShardLabels:
    """The part of one shard."""

    name: str  # of the file, for people
    checksum: str
    episodes: int  # E
    labelled: list[int]  # numbers of episodes, sorted
    held_out: list[int]


def is_label_file(labels: str | int) -> bool:
    """Whether ``data.labels`` names a file rather than a number of episodes."""
    return str(labels).endswith(".json")


def write_label_file(
    path: Path,
    headers: Sequence[ShardHeader],
    split: EpisodeSplit,
    *,
    settings: dict[str, str | int],
    overwrite: bool = False,
) -> None:
    """Write which episodes play which part, whole or not at all.

    Args:
        path: The file; ends in ``.json``.
        headers: The shards in the order by which the split numbers their episodes.
        split: The part that each episode plays.
        settings: How the episodes were chosen, for people.
        overwrite: Replace an existing file.

    Raises:
        LawmError: The file is there, has another ending, or cannot be written.
    """
    if path.suffix != ".json":
        raise LawmError(
            f"The label file {path} must end in .json: `--data.labels` knows it by that."
        )
    if path.exists() and not overwrite:
        raise LawmError(
            f"{path} exists already and is left as it is. Choose another name, or allow it with "
            "--overwrite."
        )
    shards: list[ShardLabels] = []
    start = 0
    for header in headers:
        stop = start + header.episodes.num_episodes
        labelled, held_out = (
            [int(number) - start for number in numbers if start <= number < stop]
            for numbers in (split.labelled, split.held_out)
        )
        name, checksum = header.path.name, header.meta.checksum
        shards.append(ShardLabels(name, checksum, stop - start, labelled, held_out))
        start = stop
    content = {"format": FORMAT, "version": VERSION, **settings}
    text = json.dumps({**content, "shards": [asdict(shard) for shard in shards]}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError as error:
        raise LawmError(f"{path} could not be written: {error}.") from error


def read_label_file(path: Path) -> dict[str, ShardLabels]:
    """The parts of the shards, by their checksums.

    Raises:
        LawmError: The file is missing, or is not what :func:`write_label_file` writes.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LawmError(f"{path} has more than {MAX_BYTES >> 20} MiB. {REMAKE}")
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise LawmError(
            f"data.labels names {path}, but there is no such file (looked from the folder "
            f"{Path.cwd()}). Correct the path, or make it with `lawm data label`."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise LawmError(f"The label file {path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LawmError(f"{path} is no label file: its format is not {FORMAT!r}. {REMAKE}")
    if content.get("version") != VERSION:
        raise LawmError(
            f"{path} has version {str(content.get('version'))[:40]}, expected {VERSION}. {REMAKE}"
        )
    entries = content.get("shards")
    if not isinstance(entries, list) or not entries:
        raise LawmError(f"{path} names no shards. {REMAKE}")
    shards = [_checked(path, number, entry) for number, entry in enumerate(entries)]
    return {shard.checksum: shard for shard in shards}


def split_by_file(headers: Sequence[ShardHeader], path: Path) -> EpisodeSplit:
    """The parts that a label file gives to the episodes of ``data.shards``.

    Raises:
        LawmError: The file does not fit the shards, or labels an episode without actions.
    """
    named = read_label_file(path)
    labelled: list[int] = []
    held_out: list[int] = []
    start = 0
    for header in headers:
        num = header.episodes.num_episodes
        if header.may_label:
            shard = named.get(header.meta.checksum)
            if shard is None:
                raise LawmError(
                    f"{path} knows nothing of {header.path}: no shard in it has the checksum "
                    f"{header.meta.checksum[:12]}…. {REMAKE}"
                )
            for number in [*shard.labelled, *shard.held_out]:
                if number >= num or not header.episodes.has_action[number]:
                    raise LawmError(
                        f"{path} gives labels to episode {number} of {header.path}, which has "
                        f"{num} episodes and no actions there. {REMAKE}"
                    )
            labelled += [start + number for number in shard.labelled]
            held_out += [start + number for number in shard.held_out]
        start += num
    if not labelled:
        raise LawmError(f"{path} labels no episode of data.shards. {REMAKE}")
    parts = [np.array(sorted(numbers), np.int64) for numbers in (held_out, labelled)]
    free = np.setdiff1d(np.arange(start), np.concatenate(parts))
    return EpisodeSplit(held_out=parts[0], labelled=parts[1], free=free)


def _checked(path: Path, number: int, entry: Any) -> ShardLabels:  # noqa: ANN401 (from JSON)
    where = f"Shard {number} of {path}"
    if not isinstance(entry, dict) or not isinstance(entry.get("checksum"), str):
        raise LawmError(f"{where} has no text as `checksum`. {REMAKE}")
    lists: dict[str, list[int]] = {}
    for key in ("labelled", "held_out"):
        values = entry.get(key)
        if not isinstance(values, list) or not all(
            type(value) is int and 0 <= value < 2**62 for value in values
        ):
            raise LawmError(f"{where} has no list of episode numbers as `{key}`. {REMAKE}")
        lists[key] = values
    together = lists["labelled"] + lists["held_out"]
    if len(set(together)) != len(together):
        raise LawmError(f"{where} names an episode twice; expected one part for each. {REMAKE}")
    return ShardLabels(
        name=str(entry.get("name")), checksum=entry["checksum"], episodes=len(together), **lists
    )


__all__ = [
    "ShardLabels",
    "is_label_file",
    "read_label_file",
    "split_by_file",
    "write_label_file",
]
