"""Which shards there are, what each holds, and whether they fit together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lawm.data_modules.shard_format import EpisodeIndex, ShardMeta
from lawm.data_modules.shard_reader import open_shard
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec

SAME_STEP = 1e-5  # share by which lengths of a step may differ: rates are rounded


@dataclass(frozen=True)
class ArrayLayout:
    """What the rows of an array are like."""

    dtype: np.dtype[Any]
    step_shape: tuple[int, ...]
    is_packed: bool  # lies in compressed chunks

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, unpacked."""
        return math.prod(self.step_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.step_shape} {self.dtype}"


@dataclass(frozen=True, eq=False)
class ShardHeader:
    """A shard of the data set before its arrays are read."""

    path: Path
    meta: ShardMeta
    episodes: EpisodeIndex
    may_label: bool  # listed under data.shards; False under data.action_free_shards
    obs: dict[str, ArrayLayout]  # sorted by key
    unused: dict[str, ArrayLayout] = field(default_factory=dict)  # observations that are not used

    @property
    def renderer(self) -> RendererSpec | None:
        """What took the pictures among its observations; None without, and where it is unknown."""
        return None if self.meta.renderer is None else self.meta.renderer.for_keys(self.obs)

    @property
    def num_bytes(self) -> int:
        """What its observations, actions and rewards take in memory, all labels known."""
        row = sum(layout.row_bytes for layout in self.obs.values())
        return self.episodes.num_rows * (row + 4 * (self.meta.action_dim + 1))

    @property
    def num_packed_bytes(self) -> int:
        """What its compressed observations take when they are unpacked."""
        rows = [layout.row_bytes for layout in self.obs.values() if layout.is_packed]
        return self.episodes.num_rows * sum(rows)


def agreed_timing(metas: Sequence[ShardMeta]) -> tuple[int, float]:
    """Action repeat and control timestep of shards that fit together, where some do not know.

    A video knows the seconds of a step alone; how many control steps make one is known where there
    are actions.

    Returns:
        As :attr:`ShardMeta.action_repeat` and :attr:`ShardMeta.control_timestep`.
    """
    acting = next((meta for meta in metas if meta.action_dim > 0), metas[0])
    step = max(meta.step_seconds for meta in metas)
    return acting.action_repeat, acting.control_timestep or step / acting.action_repeat


def find_shards(patterns: Sequence[str], key: str) -> list[Path]:
    """The files that paths and glob patterns name, relative to the current folder.

    Args:
        patterns: Paths, where ``~`` and the wildcards ``* ? [] **`` are expanded, sorted.
        key: The name of the setting, for the message.

    Raises:
        LawmError: A file is missing, or a pattern matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.exists() or not re.search(r"[*?[]", str(path)):
            matches = [path] if path.exists() else []
        else:
            root = Path(path.anchor) if path.is_absolute() else Path()
            matches = sorted(root.glob(str(path.relative_to(path.anchor))))
        if not matches:
            raise LawmError(
                f"data.{key} names {pattern!r}, but there is no such file (looked from the folder "
                f"{Path.cwd()}). Correct the path, or make a shard with `lawm data collect`."
            )
        found += matches
    return found


def read_headers(
    shards: Sequence[Path],
    action_free_shards: Sequence[Path],
    *,
    observation_keys: Sequence[str] | None = None,
) -> list[ShardHeader]:
    """Read the headers and check that the shards are different and fit together.

    Args:
        shards: Those whose episodes may be labelled.
        action_free_shards: Those whose actions are never used.
        observation_keys: The keys that are used of every shard; None uses all.

    Raises:
        LawmError: A shard is faulty, given twice, lacks a key, or disagrees with another one.
    """
    headers = [
        choose_keys(_read_header(path, may_label), observation_keys)
        for paths, may_label in ((shards, True), (action_free_shards, False))
        for path in paths
    ]
    for header in headers:
        _refuse_empty(header)
    by_content: dict[str, ShardHeader] = {}
    for header in headers:
        twin = by_content.setdefault(header.meta.checksum, header)
        if twin is not header:
            raise LawmError(
                f"{twin.path} and {header.path} hold the same data. An episode may stand once, or "
                "held-out and hidden labels would leak into training; remove one of the two from "
                "data.shards and data.action_free_shards."
            )
    _check_agreement(headers)
    return headers


def _read_header(path: Path, may_label: bool) -> ShardHeader:
    with open_shard(path) as shard:
        obs = {
            key: ArrayLayout(array.dtype, array.step_shape, array.file_offset is None)
            for key, array in shard.obs.items()
        }
        return ShardHeader(path, shard.meta, shard.episodes, may_label, obs)


def choose_keys(header: ShardHeader, keys: Sequence[str] | None) -> ShardHeader:
    """The header with these observation keys alone; None keeps all of them.

    Raises:
        LawmError: The shard lacks one of them.
    """
    if keys is None:
        return header
    missing = sorted(set(keys) - header.obs.keys())
    if missing:
        raise LawmError(
            f"data.observation_keys asks for {', '.join(missing)}, but {header.path} has "
            f"{', '.join(header.obs) or 'no observations'}. Name keys that all shards have."
        )
    return replace(
        header,
        obs={key: header.obs[key] for key in sorted(set(keys))},
        unused={key: layout for key, layout in header.obs.items() if key not in keys},
    )


def _refuse_empty(header: ShardHeader) -> None:
    for key, layout in header.obs.items():
        if 0 in layout.step_shape:
            raise LawmError(
                f"Observation `{key}` of {header.path} has shape {layout.step_shape}, which is no "
                "number at all; name the other keys in data.observation_keys."
            )


def probe_keys(headers: Sequence[ShardHeader]) -> dict[str, ArrayLayout]:
    """The states that are not used and that every shard with labels has, sorted by key."""
    labelled = [header.unused for header in headers if header.may_label]
    return {
        key: layout
        for key, layout in labelled[0].items()
        if layout.dtype != np.uint8
        and all(str(other.get(key)) == str(layout) for other in labelled)
    }


def _check_agreement(headers: Sequence[ShardHeader]) -> None:
    """Refuse shards of different tasks; a shard that does not know a fact agrees with any."""
    facts: dict[str, Callable[[ShardHeader], object]] = {
        "env_id": lambda header: header.meta.env_id,
        "control_timestep": lambda h: h.meta.control_timestep if h.meta.action_dim else 0,
        "action_repeat": lambda h: h.meta.action_repeat if h.meta.action_dim else 0,
        "action_low": lambda header: header.meta.action_low.tolist(),
        "action_high": lambda header: header.meta.action_high.tolist(),
        "pictures of": lambda header: header.renderer,
    }
    for header in headers:
        found, expected = (
            {key: str(layout) for key, layout in h.obs.items()} for h in (header, headers[0])
        )
        if found != expected:
            shared = [key for key in found if found[key] == expected.get(key)]
            hint = f" Or use what they share: data.observation_keys=[{', '.join(shared)}]."
            raise disagreement(
                "observations", header.path, found, headers[0].path, expected, hint * bool(shared)
            )
    for name, fact in facts.items():
        known = [(header.path, fact(header)) for header in headers if fact(header)]
        for path, value in known[1:]:
            first_path, first_value = known[0]
            if value != first_value:
                raise disagreement(name, path, value, first_path, first_value)
    _check_steps(headers)


def _check_steps(headers: Sequence[ShardHeader]) -> None:
    """Refuse steps of different length.

    How a step is made up of control steps matters to actions alone, so that shards without them,
    such as videos, need only agree on its length.
    """
    known = [(h.path, h.meta.step_seconds) for h in headers if h.meta.step_seconds]
    for path, seconds in known[1:]:
        first_path, first = known[0]
        if abs(seconds - first) > SAME_STEP * first:
            raise disagreement(
                "steps (control_timestep x action_repeat) of",
                path,
                f"{seconds:.6g} s",
                first_path,
                f"{first:.6g} s",
                " Import a video again with the other's step (--env or --fps), or with --every 1 "
                "if each of its frames is a step whatever its speed.",
            )


def disagreement(
    name: str, path: Path, found: object, first_path: Path, expected: object, hint: str = ""
) -> LawmError:
    """The error for a shard that does not fit the first one."""
    return LawmError(
        f"{path} has {name} {found}, but {first_path} has {expected}; the shards of one data set "
        f"must agree. Train on one of them, or import them alike.{hint}"
    )


__all__ = [
    "ArrayLayout",
    "ShardHeader",
    "choose_keys",
    "disagreement",
    "find_shards",
    "probe_keys",
    "read_headers",
]
