"""From somebody else's file to a trained run with four commands, for every format."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from source_writers import SOURCES, recordings
from tiny_runs import CONF

from lawm.cli import main

# The world model reads states; a format's images are left out
KEYS = {
    "robomimic": ["--keys", "robot0_eef_pos=state"],
    "laom": ["--keys", "states=state"],
}
SLOW = [
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in ("numpy", "minari", "robomimic", "ogbench", "laom")
]


@pytest.mark.parametrize("kind", ["d4rl", *SLOW])
def test_import_info_fit(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = SOURCES[kind](tmp_path, recordings([10] * 6))
    shard, run = tmp_path / "out.h5", tmp_path / "run"
    assert main(["data", "import", str(source), str(shard), *KEYS.get(kind, [])]) == 0
    assert main(["data", "info", str(shard)]) == 0
    assert "obs/state" in capsys.readouterr().out
    fit = ["fit", "--config", str(CONF / "debug.yaml"), "--data.shards", str(shard)]
    fit += ["--data.labels", "50%", "--data.held_out", "1 episodes", "--data.window", "6"]
    fit += ["--stages.world_model.max_steps", "2", "--stages.policy.max_steps", "1"]
    fit += ["--stages.world_model.val_check_interval", "1", "--trainer.log_every_n_steps", "1"]
    assert main([*fit, "--trainer.accelerator", "cpu", "--run_dir", str(run)]) == 0
    assert (run / "policy" / "DONE").is_file()
    with (run / "world_model" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["world_model/loss"]) for row in rows if row.get("world_model/loss")]
    assert losses and all(loss == loss for loss in losses), "a loss is NaN"
