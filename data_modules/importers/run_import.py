"""From a source in somebody's format to a shard, one episode in memory at a time."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lawm import __version__
from lawm.data_modules.episode import BOUND_TOLERANCE
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.import_plan import Bounds, ImportPlan, make_plan
from lawm.data_modules.importers.import_report import ImportCounts, ImportReport
from lawm.data_modules.importers.importer import RawEpisode, Source
from lawm.data_modules.importers.registry import detect_format, importer_named
from lawm.data_modules.importers.transitions import to_transitions
from lawm.data_modules.shard_reader import read_shard_header
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError

HASH_BYTES = 1 << 20  # at a time


def plan_import(source: Path, path: Path, options: ImportOptions) -> ImportReport:
    """What :func:`run_import` would do; writes nothing.

    Raises:
        LawmError: As :func:`run_import`, as far as the first episodes show it.
    """
    with _planned(source, path, options) as (plan, opened):
        return ImportReport(plan, notes=_notes(opened))


def run_import(
    source: Path,
    path: Path,
    options: ImportOptions,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> ImportReport:
    """Write the episodes of a source as a shard, every number as it is.

    Args:
        source: A file or folder in one of the formats of the registry.
        path: The shard to write.
        options: From the user.
        progress: Told after each episode how many are done, of how many (None: unknown).

    Raises:
        LawmError: The source is missing, damaged or in no known format, its numbers do not fit
            each other, the environment or the bounds, or the shard cannot be written.
    """
    with _planned(source, path, options) as (plan, opened):
        writer = ShardWriter(
            path,
            action_low=plan.bounds.low,
            action_high=plan.bounds.high,
            env_id=plan.env_id,
            action_repeat=plan.action_repeat,
            control_timestep=plan.control_timestep,
            overwrite=options.overwrite,
        )
        counts = ImportCounts()
        total = plan.num_episodes
        if options.max_episodes:
            total = min(total or options.max_episodes, options.max_episodes)
        with writer:
            for raw in _episodes(plan, opened):
                _write_episode(writer, plan, raw, counts)
                progress(len(counts.lengths) + counts.too_short, total)
            if not counts.lengths:
                raise LawmError(
                    f"{path} was not written: {source} holds no episode of two observations or "
                    "more."
                )
            digest = _sha256(source, opened.facts.files)
            notes = (*_notes(opened), *counts.remarks())
            report = ImportReport(plan, counts, notes, digest)
            writer.provenance = _provenance(report)
    checksum = read_shard_header(path)[0].checksum
    return ImportReport(plan, counts, report.notes, report.source_sha256, checksum)


@contextmanager
def _planned(
    source: Path, path: Path, options: ImportOptions
) -> Iterator[tuple[ImportPlan, Source]]:
    asked = importer_named(options.format) if options.format else None
    if not source.exists():
        raise LawmError(f"There is no file or folder {source}. Check the path of the source.")
    if asked is not None:
        importer, reason = asked, "as asked for with --format"
    else:
        importer, recognition = detect_format(source)
        reason = recognition.reason
    with importer.open(source, options.for_source(importer)) as opened:
        yield make_plan(source, path, importer, reason, opened, options), opened


def _episodes(plan: ImportPlan, opened: Source) -> Iterator[RawEpisode]:
    episodes = opened.episodes([key.source for key in plan.keys])
    return islice(episodes, plan.options.max_episodes)


def _write_episode(
    writer: ShardWriter, plan: ImportPlan, raw: RawEpisode, counts: ImportCounts
) -> None:
    if raw.num_rows < 2:
        counts.too_short += 1
        return
    raw = replace(raw, action=None) if plan.options.action_free else raw
    steps = to_transitions(
        raw, plan.convention.convention, plan.reward_convention, str(plan.source)
    )
    where = f"{raw.source_id} in {plan.source}"
    if steps.action is not None:
        _check_bounds(steps.action, plan.bounds, where)
    obs = {key.name: key.convert(raw.obs[key.source], where) for key in plan.keys}
    try:
        writer.add_episode(
            obs,
            steps.action,
            steps.reward,
            terminated=raw.terminated,
            truncated=raw.truncated,
            source_id=raw.source_id,
            physics=raw.physics,
        )
    except LawmError as error:
        raise LawmError(f"{error} It is from {plan.source}.") from error
    counts.lengths.append(raw.num_rows - 1)
    if steps.action is not None:
        counts.add_actions(steps.action, raw.source_id)
    counts.with_rewards += steps.reward is not None
    counts.terminated += raw.terminated
    counts.truncated += raw.truncated
    counts.lost_actions += steps.lost_action
    counts.lost_rewards += steps.lost_reward != 0.0
    counts.lost_reward_sum += steps.lost_reward
    counts.odd_dummies += steps.odd_dummy


def _check_bounds(action: NDArray[Any], bounds: Bounds, name: str) -> None:
    slack = BOUND_TOLERANCE * (bounds.high - bounds.low)
    if action.shape[1] != len(bounds.low):
        raise LawmError(
            f"The actions of {name} have {action.shape[1]} dimensions, those before had "
            f"{len(bounds.low)}. A shard holds one kind of episode."
        )
    outside = (action < bounds.low - slack) | (action > bounds.high + slack)
    if outside.any():
        raise LawmError(
            f"The actions of {name} reach from {np.nanmin(action):g} to {np.nanmax(action):g}, "
            f"beyond the bounds {bounds.low.min():g} to {bounds.high.max():g} ({bounds.reason}). "
            "Give those of the environment with --action-bounds LOW HIGH, or take the range of "
            "the data with --measure-bounds."
        )


def _notes(opened: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys(opened.notes))  # episodes may have been read twice


def _provenance(report: ImportReport) -> dict[str, Any]:
    return {
        "command": report.plan.command,
        "source_sha256": report.source_sha256,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "import": report.to_dict(),
        "versions": {
            "lawm": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


def _sha256(source: Path, files: tuple[Path, ...]) -> str:
    """Of the source's file; of several, over the SHA-256 and name of each."""
    if files == (source,):
        return _file_sha256(source)
    root = source if source.is_dir() else source.parent
    named = sorted((os.path.relpath(file, root), file) for file in files)
    lines = (f"{name}:{_file_sha256(file)}\n" for name, file in named)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


__all__ = ["plan_import", "run_import"]
