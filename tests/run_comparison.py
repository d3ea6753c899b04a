"""What two runs that should be the same differ in."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

from lawm.checkpoint_file import read_checkpoint
from lawm.fit_config import STAGES
from lawm.run_folder import RunFolder

# Wall-clock times, which nothing can make equal
TIMES = ("throughput/", "seconds")
PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "random_states", "callbacks")


def run_differences(expected: Path, found: Path) -> list[str]:
    """Every place where the finished runs differ; empty if they are equal to the last bit."""
    one, other = RunFolder(expected), RunFolder(found)
    different = []
    for stage in STAGES:
        there, here = (folder.stage(stage) for folder in (one, other))
        different += checkpoint_differences(
            there.last_checkpoint, here.last_checkpoint, f"{stage}/last.ckpt"
        )
        different += _table_differences(
            there.metrics_file, here.metrics_file, f"{stage}/metrics.csv"
        )
    for name in ("best", "selected"):
        files = (folder.stage("policy").checkpoints / f"{name}.ckpt" for folder in (one, other))
        different += checkpoint_differences(*files, f"policy/{name}.ckpt")
    different += _table_differences(one.evaluation_file, other.evaluation_file, "evaluation.csv")
    reports = [_without_times(json.loads(f.report_file.read_text())) for f in (one, other)]
    for report in reports:
        del report["run"]  # the folder
    return different + _differences(reports[0], reports[1], "report.json")


def checkpoint_differences(expected: Path, found: Path, name: str) -> list[str]:
    """Weights, optimiser, schedules, random numbers, position in the data, what callbacks keep."""
    if not (expected.is_file() or found.is_file()):
        return []
    contents = []
    for path in (expected, found):
        checkpoint = read_checkpoint(path)
        content = {part: checkpoint.get(part) for part in (*PARTS, "global_step", "lawm")}
        content["loader"] = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader")
        contents.append(_without_times(content))
    return _differences(contents[0], contents[1], name)


def _table_differences(expected: Path, found: Path, name: str) -> list[str]:
    if not (expected.is_file() or found.is_file()):
        return []
    tables = []
    for path in (expected, found):
        with path.open(newline="") as file:
            # by column, as a table that grew after a resume may have them in another order
            tables.append([_without_times(row) for row in csv.DictReader(file)])
    return _differences(tables[0], tables[1], name)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not str(k).startswith(TIMES)}
        return {key: _without_times(item) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [_without_times(item) for item in value]
    return value


def _differences(expected: Any, found: Any, place: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return [f"{place} has {sorted(found)}, expected {sorted(expected)}"]
        pairs = [(expected[key], found[key], f"{place}/{key}") for key in expected]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return [f"{place} has {len(found)} entries, expected {len(expected)}"]
        pairs = [
            (e, f, f"{place}/{i}") for i, (e, f) in enumerate(zip(expected, found, strict=True))
        ]
    elif isinstance(expected, torch.Tensor) and isinstance(found, torch.Tensor):
        return [] if expected.equal(found) else [f"{place} differs: {found} is not {expected}"]
    else:
        is_equal = expected == found or (expected != expected and found != found)  # NaN
        return [] if is_equal else [f"{place} is {found}, expected {expected}"]
    return [line for pair in pairs for line in _differences(*pair)]


__all__ = ["checkpoint_differences", "run_differences"]
