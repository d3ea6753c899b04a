"""What an import will do or has done: for the screen, and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from lawm.data_modules.importers.import_plan import ImportPlan

NAMED_EPISODES = 3


@dataclass
class ImportCounts:
    """Gathered while episodes are written."""

    lengths: list[int] = field(default_factory=list)  # transitions of each episode
    with_actions: int = 0  # episodes
    with_rewards: int = 0  # episodes
    terminated: int = 0  # episodes
    truncated: int = 0  # episodes
    constant: list[str] = field(default_factory=list)  # episodes whose actions never change
    constant_zeros: int = 0  # of these
    too_short: int = 0  # episodes of a single observation, dropped
    lost_actions: int = 0  # episodes whose last action has no outcome in the source
    lost_rewards: int = 0  # episodes that lose a reward other than zero
    lost_reward_sum: float = 0.0
    odd_dummies: int = 0  # episodes whose row 0 was dropped as a dummy without looking like one

    def add_actions(self, action: NDArray[Any], source_id: str) -> None:
        """Count the actions (T, A) of an episode that has some."""
        self.with_actions += 1
        if len(action) > 1 and (action == action[0]).all():
            self.constant.append(source_id)
            self.constant_zeros += not action[0].any()

    def remarks(self) -> tuple[str, ...]:
        """What looks like a mistake in the source and may be none."""
        if not self.constant:
            return ()
        names = ", ".join(self.constant[:NAMED_EPISODES])
        more = ", ..." if len(self.constant) > NAMED_EPISODES else ""
        return (
            f"the actions of {len(self.constant)} of {self.with_actions} episodes with actions "
            f"never change ({names}{more}), and are zero in {self.constant_zeros}. They are "
            "imported as known; if they only fill the place of unknown ones, write NaN throughout "
            "in the source instead (or leave the actions out with --action-free) and import again",
        )


@dataclass(frozen=True, eq=False)
class ImportReport:
    """A plan and, once it was carried out, what came of it."""

    plan: ImportPlan
    counts: ImportCounts | None = None  # None: nothing was written
    notes: tuple[str, ...] = ()  # of the importer, on what it dropped
    source_sha256: str = ""
    checksum: str = ""  # of the shard's data

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not known yet is left out."""
        plan = self.plan
        values: dict[str, Any] = {
            "source": str(plan.source),
            "more_sources": [str(source) for source in plan.options.more_sources],
            "path": str(plan.path),
            "format": plan.importer.name,
            "recognised_by": plan.recognised_by,
            "command": plan.command,
            "episodes_in_source": plan.num_episodes,
            "env_name": plan.env_name,
            "env_id": plan.env_id,
            "action_repeat": plan.action_repeat,
            "control_timestep": plan.control_timestep,
            "observations": {
                key.name: {
                    "source": key.source,
                    "dtype": str(key.dtype),
                    "shape": list(key.shape),
                    "change": key.change,
                }
                for key in plan.keys
            },
            "action": {
                "dtype": "float32",
                "shape": [len(plan.bounds.low)],
                "low": plan.bounds.low.tolist(),
                "high": plan.bounds.high.tolist(),
                "bounds_from": plan.bounds.reason,
            },
            "convention": {
                "action": plan.convention.convention,
                "reason": plan.convention.reason,
                "reward": plan.reward_convention,
            },
            "left_out": dict(plan.left_out),
            "notes": list(self.notes),
        }
        if self.counts is not None:
            values |= self._outcome(self.counts)
        hashes = {"source_sha256": self.source_sha256, "checksum": self.checksum}
        return values | {name: value for name, value in hashes.items() if value}

    def table(self) -> Table:
        """For a terminal."""
        title = "import" if self.counts is not None else "plan, nothing was written"
        table = Table("", title, title_justify="left")
        for name, text in self.rows().items():
            table.add_row(name, Text(text, overflow="fold"))
        return table

    def rows(self) -> dict[str, str]:
        """The lines of the table, by their names."""
        plan, bounds = self.plan, self.plan.bounds
        rows = {
            "source": f"{', '.join(map(str, plan.sources))} → {plan.path}",
            "format": f"{plan.importer.name}: {plan.recognised_by}",
        }
        if self.counts is None:
            num = plan.num_episodes
            rows["episodes"] = "as many as reading finds" if num is None else f"{num} in the source"
        else:
            rows |= _counted(self.counts)
        for key in plan.keys:
            renamed = "" if key.name == key.source else f", was {key.source}"
            change = f", {key.change}" if key.change else ""
            rows[f"obs/{key.name}"] = f"{key.dtype} {key.shape}{renamed}{change}"
        if bounds.low.size:
            spread = f"{bounds.low.min():g} to {bounds.high.max():g}"
            rows["action"] = f"float32 ({bounds.low.size},), bounds {spread} ({bounds.reason})"
        rows["convention"] = f"{plan.convention.convention or ''} {plan.convention.reason}".strip()
        if plan.env_id or plan.env_name:
            rows["environment"] = plan.env_id or f"{plan.env_name}, as the source calls it"
        step = f"{plan.control_timestep:g} s" if plan.control_timestep else "unknown"
        rows["time"] = f"action repeat {plan.action_repeat}, control timestep {step}"
        rows |= {f"without {name}": why for name, why in plan.left_out.items()}
        rows |= {f"note {i}": note for i, note in enumerate(self.notes, start=1)}
        if self.checksum:
            rows["checksum"] = self.checksum
        return rows

    def _outcome(self, counts: ImportCounts) -> dict[str, Any]:
        lengths = np.array(counts.lengths)
        return {
            "episodes": len(lengths),
            "transitions": int(lengths.sum()),
            "lengths": {
                "min": int(lengths.min()),
                "median": float(np.median(lengths)),
                "max": int(lengths.max()),
            },
            "episodes_with_actions": counts.with_actions,
            "episodes_with_constant_actions": len(counts.constant),
            "episodes_with_rewards": counts.with_rewards,
            "terminated": counts.terminated,
            "truncated": counts.truncated,
            "dropped": {
                "episodes_of_one_observation": counts.too_short,
                "last_actions_without_outcome": counts.lost_actions,
                "last_rewards_without_outcome": counts.lost_rewards,
                "sum_of_those_rewards": counts.lost_reward_sum
                if math.isfinite(counts.lost_reward_sum)
                else str(counts.lost_reward_sum),
                "first_rows_that_were_no_dummies": counts.odd_dummies,
            },
        }


def _counted(counts: ImportCounts) -> dict[str, str]:
    lengths = np.array(counts.lengths)
    rows = {
        "episodes": f"{len(lengths)}, {lengths.sum():,} transitions; lengths min {lengths.min()}, "
        f"median {np.median(lengths):g}, max {lengths.max()}",
        "with actions": f"{counts.with_actions} episodes",
        "with rewards": f"{counts.with_rewards} episodes",
        "ends": f"{counts.terminated} terminated, {counts.truncated} truncated",
    }
    dropped = []
    if counts.lost_actions:
        dropped.append(
            f"the last action of {counts.lost_actions} episodes, whose outcome the source does not "
            "hold"
        )
    if counts.lost_rewards:
        dropped.append(
            f"with it a reward in {counts.lost_rewards} episodes, {counts.lost_reward_sum:g} in all"
        )
    if counts.odd_dummies:
        dropped.append(
            f"row 0 of {counts.odd_dummies} episodes, whose action or reward is neither zero nor "
            "NaN"
        )
    if counts.too_short:
        dropped.append(f"{counts.too_short} episodes of a single observation")
    return rows | ({"dropped": "; ".join(dropped)} if dropped else {})


__all__ = ["ImportCounts", "ImportReport"]
