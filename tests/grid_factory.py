"""Grids and rows for tests of `lawm bench labels`."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lawm.benchmarks.grid_rows import GridRow
from lawm.benchmarks.label_grid import GridRun, RunKey, Task, in_order

TENTH, FIFTIETH = Fraction(1, 10), Fraction(1, 50)
ROW = GridRow(
    task="cheetah",
    data="cheetah_replay",
    method="lawm",
    labelled_fraction=0.1,
    labelled_episodes=15,
    labelled_transitions=7500,
    seed=0,
    return_final=300.0,
    return_final_std=12.5,
    episodes=50,
    return_selected=305.0,
    step_selected=400,
    return_best=310.0,
    step_best=500,
    action_r2=0.9,
    verdict="usable",
    data_mean=143.8,
    data_best=360.9,
    hours=0.2,
    machine="a processor",
    config_hash="h",
    commit="c0ffee",
    version="0.1.0",
    command="lawm fit --config conf/cheetah.yaml --seed 0",
)


def row(method: str = "lawm", value: float | None = 300.0, **changes) -> GridRow:
    """A row with the return ``value``, and the fraction 1 for the oracle."""
    fraction = 1.0 if method == "oracle" else 0.1
    given = {"labelled_fraction": fraction, "return_final": value, "return_best": value, **changes}
    return replace(ROW, method=method, **given)


def grid(
    tasks=("cheetah", "walker"),
    methods=("oracle", "lawm", "bc"),
    fractions=(FIFTIETH, TENTH),
    seeds=(0, 1),
    config_hash: str = "h",
) -> list[GridRun]:
    """Runs in their order, all of one configuration."""
    found = [Task(name, Path(f"conf/{name}.yaml"), f"{name}_replay") for name in tasks]
    return [
        GridRun(task, method, fraction, seed, (task.config,), (), config_hash)
        for task, method, fraction, seed in in_order(found, methods, fractions, seeds)
    ]


def write_report(path: Path, final: float = 300.0) -> None:
    """The report of a finished run, the parts that a row is made from."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text("seed: 0\n")
    evaluation = {"final": {"mean": final, "std": None}, "best": {"mean": final, "step": 5}}
    report = {
        "data": {"labelled episodes": 15, "labelled transitions": 7500},
        "evaluation": evaluation,
        "latent_action": None,
        "stages": {"policy": {"seconds": 360.0, "metrics": {}}},
    }
    (path / "report.json").write_text(json.dumps(report))


def key_of(run: GridRun) -> RunKey:
    """For sorting and sets."""
    return run.key
