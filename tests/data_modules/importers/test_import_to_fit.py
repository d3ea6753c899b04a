"""From somebody else's file to a trained run with four commands, for every format."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from replay_writers import REPLAYS
from source_writers import SOURCES, recordings
from tiny_runs import CONF

from lawm.cli import main

# States, and pictures where there is nothing else
KEYS = {
    "robomimic": ["--keys", "robot0_eef_pos=state"],
    "laom": ["--keys", "states=state"],
    "aime": ["--keys", "state"],
    "dreamerv3": ["--keys", "state"],
    "dreamerv2, torch": ["--keys", "state"],
    "stable-worldmodel": ["--keys", "proprio=state"],
    "lerobot": ["--keys", "observation.state"],
}
WITHOUT_REWARDS = {"ogbench", "laom", "exorl"}
FILES = Path(__file__).parents[2] / "data"  # that other packages wrote
MAKERS = {
    **SOURCES,
    **REPLAYS,
    "stable-worldmodel": lambda folder, made: FILES / "stable_worldmodel.h5",
    "lerobot": lambda folder, made: FILES / "lerobot_v3",
}
SLOW = [
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in (
        *("numpy", "minari", "robomimic", "ogbench", "laom", "aime", "exorl"),
        *("dreamerv2, torch", "stable-worldmodel", "lerobot", "dreamerv2, v-d4rl"),
    )
]


@pytest.mark.parametrize("kind", ["d4rl", "dreamerv3", "v-d4rl", *SLOW])
def test_import_info_label_fit(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "lerobot":
        pytest.importorskip("pyarrow")
        pytest.importorskip("av")
    source = MAKERS[kind](tmp_path, recordings([10] * 6))
    shard, labels, run = tmp_path / "out.h5", tmp_path / "labels.json", tmp_path / "run"
    assert main(["data", "import", str(source), str(shard), *KEYS.get(kind, [])]) == 0
    assert main(["data", "info", str(shard)]) == 0
    key = "obs/image" if kind.endswith("v-d4rl") else "obs/state"
    assert key in capsys.readouterr().out
    budget = ["--labels", "50%", "--held-out", "1 episodes"]
    assert main(["data", "label", str(shard), "--out", str(labels), *budget]) == 0
    fit = ["fit", "--config", str(CONF / "debug.yaml"), "--data.shards", str(shard)]
    fit += ["--data.labels", str(labels), "--data.window", "4"]
    fit += ["--stages.world_model.max_steps", "2", "--stages.policy.max_steps", "1"]
    fit += ["--stages.world_model.val_check_interval", "1", "--trainer.log_every_n_steps", "1"]
    fit += ["--trainer.accelerator", "cpu", "--run_dir", str(run)]
    if kind in WITHOUT_REWARDS:
        assert main(fit) == 2
        fit += ["--stage", "world_model"]
    assert main(fit) == 0
    assert (run / "policy" / "DONE").is_file() != (kind in WITHOUT_REWARDS)
    with (run / "world_model" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["world_model/loss"]) for row in rows if row.get("world_model/loss")]
    assert losses and all(loss == loss for loss in losses), "a loss is NaN"
