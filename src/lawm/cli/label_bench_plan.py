"""From the options of `lawm bench labels` to the runs of the grid."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lawm.benchmarks.label_grid import (
    METHODS,
    GridRun,
    Task,
    budget_arguments,
    hash_config,
    in_order,
)
from lawm.cli.fit_parser import FitRequest, parse_fit
from lawm.cli.method_definition import definition
from lawm.data_modules.shard_headers import find_shards, read_headers
from lawm.errors import LawmError
from lawm.user_modules import allow_import_options

_SET_BY_THE_GRID = {
    "seed": "--seeds",
    "data.label_seed": "--seeds",
    "data.labels": "--fractions",
    "threads": "--threads",
    "config": "--config and --preset",
    "run_dir": "--out",
    "resume": "--out",
    "stage": "nothing: a row needs both stages",
    "world_model_from": "--world-models-from",
    "name": "nothing: runs are called by their task, method, budget and seed",
}


@dataclass(frozen=True)
class Grid:
    """The runs in their order, and whether they would take a GPU where there is one."""

    runs: list[GridRun]
    uses_cuda: bool


def read_grid(args: argparse.Namespace) -> Grid:
    """What the options ask for.

    Raises:
        LawmError: An unknown method, a configuration, preset or shard that is missing, or a value
            that is none.
    """
    methods, fractions, seeds = (
        _methods(args.methods),
        _fractions(args.fractions),
        _seeds(args.seeds),
    )
    settings = _settings(args.settings)
    _check_tasks(args.config)
    presets = {
        (config, method): None if method == "lawm" else _preset(method, config)
        for config in args.config
        for method in methods
    }
    tasks: list[Task] = []
    cells: dict[tuple[Task, str], _Cell] = {}
    for config in args.config:
        data: _TaskData | None = None
        for method in methods:
            preset = presets[config, method]
            configs = (config, *([preset] if preset else []), *args.preset)
            request = _parse(configs, settings, method)
            kept = definition(preset, yaml.safe_load(request.config_text)) if preset else ()
            if kept:
                request = _parse(configs, (*settings, *kept), method)
            if data is None:
                data = _look_at_data(config, request)
                tasks.append(data.task)
            cells[data.task, method] = _Cell(configs, kept, request, data)
    runs = [
        GridRun(
            task,
            method,
            fraction,
            seed,
            cells[task, method].configs,
            settings,
            cells[task, method].hash(fraction),
            cells[task, method].definition,
        )
        for task, method, fraction, seed in in_order(tasks, methods, fractions, seeds)
    ]
    return Grid(runs, any(cell.uses_cuda for cell in cells.values()))


@dataclass(frozen=True)
class _TaskData:
    """A task, and what of its shards decides a result."""

    task: Task
    checksums: list[list[str]]  # of labelled and of action-free shards
    images: bool  # among the observations
    all_have_actions: bool


class _Cell:
    """What the runs of a task and method share."""

    def __init__(
        self,
        configs: tuple[Path, ...],
        definition: tuple[str, ...],
        request: FitRequest,
        data: _TaskData,
    ) -> None:
        self.configs = configs
        self.definition = definition
        self._data = data
        self._merged: dict[str, Any] = yaml.safe_load(request.config_text)
        accelerator = str(request.config.trainer["accelerator"])
        self.uses_cuda = accelerator in ("auto", "gpu", "cuda")

    def hash(self, fraction: Fraction) -> str:
        return hash_config(
            self._merged,
            fraction,
            self._data.checksums,
            images=self._data.images,
            all_have_actions=self._data.all_have_actions,
        )


def _parse(configs: Sequence[Path], settings: Sequence[str], method: str) -> FitRequest:
    """The merged configuration; the budget does not matter here."""
    words = [word for config in configs for word in ("--config", str(config))]
    budget = budget_arguments(method, Fraction(1, 2))
    given = [f"--{setting}" for setting in settings]
    return parse_fit([*words, *budget, *given, *allow_import_options()])


def _look_at_data(config: Path, request: FitRequest) -> _TaskData:
    found = []
    for key in ("shards", "action_free_shards"):
        given = request.config.data.get(key) or []
        found.append(find_shards([given] if isinstance(given, str) else list(given), key))
    keys = request.config.data.get("observation_keys")
    headers = read_headers(found[0], found[1], observation_keys=keys)
    sums = [
        [h.meta.checksum for h in headers if h.may_label is labelled] for labelled in (True, False)
    ]
    data = "+".join(path.stem for paths in found for path in paths)
    images = any(layout.dtype == np.uint8 for h in headers for layout in h.obs.values())
    all_have_actions = all(h.may_label and bool(h.episodes.has_action.all()) for h in headers)
    return _TaskData(Task(config.stem, config, data), sums, images, all_have_actions)


def _check_tasks(configs: Sequence[Path]) -> None:
    if not configs:
        raise LawmError(
            "`lawm bench labels` needs tasks: give the configuration of each, as in "
            "`--config conf/cheetah.yaml --config conf/walker.yaml`, or --from a CSV."
        )
    stems = [config.stem for config in configs]
    for config in configs:
        if stems.count(config.stem) > 1:
            raise LawmError(
                f"--config names two tasks {config.stem}; a task has the name of its file, so give "
                "one of the files another."
            )
        if config.stem in METHODS:
            raise LawmError(
                f"--config {config} is the preset of a method; --config lists tasks, and "
                f"--methods {config.stem} stacks the preset on each."
            )


def _preset(method: str, config: Path) -> Path:
    """Beside the task's configuration, else in conf/ here."""
    candidates = [folder / f"{method}.yaml" for folder in (config.parent, Path("conf"))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " nor ".join(dict.fromkeys(str(candidate) for candidate in candidates))
    raise LawmError(
        f"the method {method} has no preset: there is no {places}. Write it, or leave the method "
        "out of --methods."
    )


def _methods(text: str) -> list[str]:
    names = _items(text, "methods")
    for name in names:
        if name not in METHODS:
            raise LawmError(f"--methods has {name!r}; expected some of {', '.join(METHODS)}.")
    return names


def _fractions(text: str) -> list[Fraction]:
    found = []
    for item in _items(text, "fractions"):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", item)
        share = Fraction(match[1]) / 100 if match else Fraction(0)
        if not 0 < share <= 1:
            raise LawmError(
                f"--fractions has {item!r}; expected shares of the episodes above 0% and up to "
                "100%, as in 2%,10%."
            )
        found.append(share)
    return list(dict.fromkeys(found))


def _seeds(text: str) -> list[int]:
    items = _items(text, "seeds")
    for item in items:
        if not re.fullmatch(r"\d{1,9}", item):
            raise LawmError(f"--seeds has {item!r}; expected whole numbers from 0, as in 0,1,2.")
    return list(dict.fromkeys(int(item) for item in items))


def _settings(given: Sequence[str]) -> tuple[str, ...]:
    for setting in given:
        key, sign, _ = setting.partition("=")
        if not sign or not key or key.startswith("-"):
            raise LawmError(f"--set is {setting!r}; expected KEY=VALUE, as in policy.horizon=10.")
        key = key.replace("-", "_")  # both are understood
        if key in _SET_BY_THE_GRID:
            raise LawmError(
                f"--set {setting}: {key} is set for each run, by {_SET_BY_THE_GRID[key]}."
            )
    return tuple(given)


def _items(text: str, option: str) -> list[str]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise LawmError(f"--{option} is empty; expected values with commas between them.")
    return list(dict.fromkeys(items))


__all__ = ["Grid", "read_grid"]
