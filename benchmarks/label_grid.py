"""The runs of a label-efficiency grid: tasks x methods x label budgets x seeds, and their order."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from lawm.stage_identity import ACCESS_KEYS, as_older_runs_tell, read_by_policy
from lawm.user_modules import allow_import_options

ORACLE = "oracle"  # has every label, hence no budget
METHODS = (
    ORACLE,
    "lawm",
    "labelled_only",
    "pseudo_label",
    "masked_action",
    "bc",
    "bc_pseudo_label",
)
CLONING = ("bc", "bc_pseudo_label")  # no world model: a fraction of the others' time
ALL = Fraction(1)

# What changes no result or differs between the runs of a cell by design
_LEFT_OUT = ("name", "seed", "compile")
_OF_IMAGES = "image_"
_OF_TWO_SOURCES = ("labelled_warmup_steps", "share_weights")
_LEFT_OUT_OF_DATA = (*ACCESS_KEYS, "labels", "label_seed")
# Where every row is labelled, so that a new default makes no oracle stale
_UNREAD_RATIO = {"labelled_ratio": 0.5}
_UNREAD_WEIGHTS = {"labelled_weight": 1.0, "action_free_weight": 1.0}


@dataclass(frozen=True)
class Task:
    """A task of the grid."""

    name: str  # stem of its configuration
    config: Path
    data: str  # stems of the shards


@dataclass(frozen=True)
class RunKey:
    """Which cell of the grid, and which seed; one row of the CSV."""

    task: str
    data: str
    method: str
    labelled_fraction: float  # asked for, in (0, 1]
    seed: int


@dataclass(frozen=True)
class GridRun:
    """One `lawm fit` of the grid."""

    task: Task
    method: str
    fraction: Fraction
    seed: int
    configs: tuple[Path, ...]  # the task's, the method's, what stacks on every run
    settings: tuple[str, ...]  # "key=value", for every run
    config_hash: str  # of the cell, see :func:`hash_config`
    definition: tuple[str, ...] = ()  # "key=value", of the method, where the others change it

    @property
    def key(self) -> RunKey:
        """Its row in the CSV."""
        fraction = round(float(self.fraction), 6)
        return RunKey(self.task.name, self.task.data, self.method, fraction, self.seed)

    @property
    def name(self) -> str:
        """Of its run folder below the task's, such as ``lawm-10pct-0``."""
        return f"{self.method}-{budget_name(self.fraction)}-{self.seed}"

    @property
    def label(self) -> str:
        """For people, such as ``cheetah/lawm-10pct-0``."""
        return f"{self.task.name}/{self.name}"

    def arguments(self) -> list[str]:
        """What follows `lawm fit` for the same result anywhere."""
        return [
            *(word for config in self.configs for word in ("--config", str(config))),
            *("--seed", str(self.seed), "--data.label_seed", str(self.seed)),
            *budget_arguments(self.method, self.fraction),
            *(f"--{setting}" for setting in (*self.settings, *self.definition)),
            *allow_import_options(),
        ]

    def command(self) -> str:
        """The same as a line for a shell."""
        return shlex.join(["lawm", "fit", *self.arguments()])


def budget_arguments(method: str, fraction: Fraction) -> list[str]:
    """The label budget as options of `lawm fit`; the oracle's stands in its preset."""
    return [] if method == ORACLE else ["--data.labels", percent(fraction)]


def percent(fraction: Fraction) -> str:
    """As ``10%`` or ``2.5%``."""
    return f"{float(fraction * 100):g}%"


def budget_name(fraction: Fraction) -> str:
    """As a part of a folder's name: ``10pct``, or ``all``."""
    return "all" if fraction == ALL else percent(fraction).replace("%", "pct")


def parse_run_name(name: str) -> tuple[str, float, int] | None:
    """Method, labelled fraction and seed of a :attr:`GridRun.name`; None of another folder's."""
    found = re.fullmatch(r"(.+)-(?:(all)|([\d.]+)pct)-(\d+)", name)
    if found is None:
        return None
    method, is_all, percents, seed = found.groups()
    return method, 1.0 if is_all else round(float(percents) / 100, 6), int(seed)


def in_order(
    tasks: Sequence[Task],
    methods: Sequence[str],
    fractions: Sequence[Fraction],
    seeds: Sequence[int],
) -> list[tuple[Task, str, Fraction, int]]:
    """The cells, so that the grid is the most useful table whenever it is stopped.

    Seed by seed; of each first the oracles, which everything is normalised to, then budget by
    budget all methods on all tasks.
    """
    found = []
    budgeted = [method for method in methods if method != ORACLE]
    for seed in seeds:
        if ORACLE in methods:
            found += [(task, ORACLE, ALL, seed) for task in tasks]
        for fraction in fractions:
            found += [(task, method, fraction, seed) for method in budgeted for task in tasks]
    return found


def _unread(config: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Sections, and stages, whose settings a run with this configuration does not look at."""
    labelling: set[str] = set() if config["pseudo_labels"] else {"inverse_dynamics"}
    if config["method"] == "behaviour_cloning":
        return {"world_model", "policy", "start_states"} | labelling, {"world_model"} | labelling
    return {"cloning"} | labelling, labelling


def hash_config(
    config: Mapping[str, Any],
    fraction: Fraction,
    checksums: Sequence[Sequence[str]],
    *,
    images: bool,
    all_have_actions: bool,
) -> str:
    """Digest of all that decides the result of a cell, 12 hexadecimal digits.

    Seeds do not enter it: the runs of a cell have the same. Nor do names of files: the content of
    the shards does; nor what is said of images where states alone are seen, of stages that the
    method does not run, or of how two kinds of rows are mixed and weighed where there is one.

    Args:
        config: The merged configuration, as in a run's ``config.yaml``.
        fraction: The labelled fraction.
        checksums: Of the content of ``data.shards`` and of ``data.action_free_shards``.
        images: Whether there is an image among the observations.
        all_have_actions: Whether every episode of the shards can be labelled.
    """
    content = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    if content.get("policy_seed") is None:  # that of the run, which is left out
        content.pop("policy_seed", None)
    data = {k: v for k, v in config["data"].items() if k not in _LEFT_OUT_OF_DATA}
    all_labelled = fraction == ALL and all_have_actions
    if all_labelled:
        data |= _UNREAD_RATIO
    content |= {"data": data, "fraction": str(fraction), "content": checksums}
    sections, stages = _unread(config)
    content = {key: value for key, value in content.items() if key not in sections}
    content["stages"] = {
        stage: {
            name: value
            for name, value in settings.items()
            if name != "callbacks" and (name, value) != ("module", None)
        }
        for stage, settings in config["stages"].items()
        if stage not in stages
    }
    if "world_model" in content:
        model = as_older_runs_tell("world_model.model", config["world_model"]["model"])
        if not images:
            model = {key: value for key, value in model.items() if not key.startswith(_OF_IMAGES)}
        options = as_older_runs_tell("world_model.options", config["world_model"]["options"])
        if all_labelled or config["pseudo_labels"] or config["data"]["labelled_ratio"] == 1.0:
            options = {k: v for k, v in options.items() if k not in _OF_TWO_SOURCES}
            options |= _UNREAD_WEIGHTS
        content["world_model"] = {**config["world_model"], "model": model, "options": options}
        content["policy"] = as_older_runs_tell("policy", read_by_policy(config["policy"]))
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


__all__ = [
    "ALL",
    "CLONING",
    "METHODS",
    "ORACLE",
    "GridRun",
    "RunKey",
    "Task",
    "budget_arguments",
    "budget_name",
    "hash_config",
    "in_order",
    "parse_run_name",
    "percent",
]
