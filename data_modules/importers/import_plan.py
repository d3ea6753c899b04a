"""What an import will do, decided before the first episode is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.action_convention import Finding, find_convention
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.importer import Convention, Importer, Source, SourceFacts
from lawm.data_modules.importers.observation_keys import ChosenKey, choose_keys
from lawm.data_modules.importers.transitions import as_action_rows, to_transitions
from lawm.envs import make_env
from lawm.errors import LawmError


@dataclass(frozen=True, eq=False)
class Bounds:
    """Of each action dimension, in the environment's units."""

    low: NDArray[np.float64]  # (A,); A = 0 where no episode has actions
    high: NDArray[np.float64]  # (A,)
    reason: str  # where they come from


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """Source, target and everything that was detected, stated or asked for."""

    source: Path
    path: Path
    importer: Importer
    recognised_by: str
    num_episodes: int | None  # in the source; None where only reading tells
    keys: Sequence[ChosenKey]
    left_out: Mapping[str, str]
    convention: Finding
    reward_convention: Convention | None  # of rewards that share their observations' rows
    bounds: Bounds
    env_name: str
    env_id: str
    action_repeat: int
    control_timestep: float
    options: ImportOptions

    @property
    def sources(self) -> tuple[Path, ...]:
        """All that is imported."""
        return (self.source, *self.options.more_sources)

    @property
    def command(self) -> str:
        """The command line that imports the same again."""
        return self.options.command(self.source, self.path)


def make_plan(
    source: Path,
    path: Path,
    importer: Importer,
    recognised_by: str,
    opened: Source,
    options: ImportOptions,
) -> ImportPlan:
    """Look at some episodes and decide.

    Args:
        source: What is imported.
        path: The shard to write.
        importer: Of the source's format.
        recognised_by: Why it is of this format.
        opened: The source, opened with that importer.
        options: From the user.

    Raises:
        LawmError: Something is missing, contradictory or cannot be imported.
    """
    facts, where = opened.facts, str(source)
    keys, left_out = choose_keys(opened.observations, options.keys, where)
    if options.action_free:
        convention = Finding(None, "actions are left out, as asked for with --action-free")
    elif not facts.has_actions:
        convention = Finding(None, f"{importer.name} knows no actions")
    else:
        convention = find_convention(opened, options.action_convention, where)
    rows = convention.convention or options.action_convention or facts.action_convention
    task = _task(options) if options.env_id else None
    if task is not None:
        _check_observations(where, keys, task)
    bounds = _bounds(opened, task, options, convention, where)
    return ImportPlan(
        source=source,
        path=path,
        importer=importer,
        recognised_by=recognised_by,
        num_episodes=facts.num_episodes,
        keys=keys,
        left_out={**left_out, **facts.left_out},
        convention=convention,
        reward_convention=facts.reward_convention or rows,
        bounds=bounds,
        env_name=facts.env_name,
        env_id=options.env_id,
        action_repeat=options.action_repeat or facts.action_repeat or 1,
        control_timestep=_control_timestep(facts, task, options, where),
        options=options,
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """What an environment says of itself."""

    env_id: str
    shapes: dict[str, tuple[int, ...]]  # of one step of each observation
    action_low: NDArray[np.float64]  # (A,)
    action_high: NDArray[np.float64]  # (A,)
    control_timestep: float


def _task(options: ImportOptions) -> _Task:
    env = make_env(options.env_id, options.action_repeat or 1)
    shapes = {key: values.shape for key, values in env.reset().items()}
    env.close()
    return _Task(options.env_id, shapes, env.action_low, env.action_high, env.control_timestep)


def _control_timestep(
    facts: SourceFacts, task: _Task | None, options: ImportOptions, where: str
) -> float:
    """What the environment or the source says, else what the user does; 0 where nobody knows."""
    given = options.control_timestep
    known = facts.control_timestep if task is None else task.control_timestep
    if given and known and not math.isclose(given, known, rel_tol=1e-6):
        raise LawmError(
            f"--control-timestep is {given:g} s, but that of {task.env_id if task else where} is "
            f"{known:g} s (before action repeat). Leave out --control-timestep."
        )
    return known or given


def _check_observations(where: str, keys: Sequence[ChosenKey], task: _Task) -> None:
    """The shard must have the keys that the environment gives: a policy will ask for them.

    Pictures alone are no observations of the environment but of a camera that looks at it.
    """
    if all(key.dtype == np.uint8 for key in keys):
        return
    found = {key.name: key.shape for key in keys}
    if any(found.get(name) != shape for name, shape in task.shapes.items()):
        raise LawmError(
            f"{where} has the observations {found}, but {task.env_id} has {task.shapes}. Name the "
            "environment that the data come from, or rename keys with --keys KEY=NAME."
        )


def _bounds(
    opened: Source, task: _Task | None, options: ImportOptions, convention: Finding, where: str
) -> Bounds:
    has_actions = opened.facts.has_actions and not options.action_free
    action_dim = _action_dim(opened, where) if has_actions else 0
    if task is not None and action_dim not in (0, len(task.action_low)):
        raise LawmError(
            f"The actions of {where} have {action_dim} dimensions, but those of {task.env_id} have "
            f"{len(task.action_low)}. Name the environment that the data come from."
        )
    if options.measure_bounds:
        return _measured(opened, options, convention, where)
    if options.action_bounds is not None:
        low, high = options.action_bounds
        num = len(task.action_low) if task is not None else action_dim
        return Bounds(np.full(num, low), np.full(num, high), "as asked for with --action-bounds")
    if task is not None:
        return Bounds(task.action_low, task.action_high, f"those of {task.env_id}")
    facts = opened.facts
    if facts.action_low is not None and facts.action_high is not None and action_dim:
        if facts.action_low.shape != (action_dim,):
            raise LawmError(
                f"{where} states bounds for {facts.action_low.size} action dimensions, but its "
                f"actions have {action_dim}. Give them with --action-bounds."
            )
        return Bounds(facts.action_low, facts.action_high, "stated by the source")
    return Bounds(-np.ones(action_dim), np.ones(action_dim), "assumed, as the source states none")


def _action_dim(opened: Source, where: str) -> int:
    """A, of the first episode that has actions; 0 if none has."""
    for episode in opened.episodes(()):
        if episode.action is not None:
            rows = as_action_rows(episode.action, f"{episode.source_id} in {where}")
            return int(rows.shape[1])
    return 0


def _measured(opened: Source, options: ImportOptions, convention: Finding, where: str) -> Bounds:
    """The range of what is imported; a dimension that never moves gets a range around its value."""
    low = high = np.zeros(0)
    for raw in islice(opened.episodes(()), options.max_episodes):
        if raw.num_rows < 2:
            continue
        rows = to_transitions(replace(raw, reward=None), convention.convention, None, where).action
        if rows is None:
            continue
        known = rows[~np.isnan(rows).all(axis=1)].astype(np.float64)
        lowest, highest = known.min(axis=0), known.max(axis=0)
        if low.shape != lowest.shape:
            low, high = lowest, highest
        low, high = np.minimum(low, lowest), np.maximum(high, highest)
    still = high <= low
    return Bounds(
        np.where(still, low - 1.0, low),
        np.where(still, high + 1.0, high),
        "the range of the actions, as asked for with --measure-bounds",
    )


__all__ = ["Bounds", "ImportPlan", "make_plan"]
