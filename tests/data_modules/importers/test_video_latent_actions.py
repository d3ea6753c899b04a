"""What the unlabelled half is for: videos make the latent action readable from few labels."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pixel_system import film_shard, record
from tiny_runs import CONF

from lawm.cli import main

pytest.importorskip("av")

SIZES = {"deter": 32, "hidden": 64, "embed": 64, "stoch": 8, "latent_action": 4, "image_depth": 8}


def held_out_r2(labelled: Path, video: Path, run: Path, ratio: float) -> float:
    """R^2 of the action from q_free on six held-out episodes, after 600 updates."""
    sizes = [word for key, n in SIZES.items() for word in (f"--world_model.model.{key}", str(n))]
    arguments = [
        *("fit", "--config", str(CONF / "debug.yaml"), "--stage", "world_model", *sizes),
        *("--data.shards", str(labelled), "--data.action_free_shards", str(video)),
        *("--data.labels", "2 episodes", "--data.held_out", "6 episodes"),
        *("--data.labelled_ratio", str(ratio), "--data.batch_size", "16", "--data.window", "8"),
        *("--world_model.model.image_shift", "0", "--world_model.learning_rate", "1e-3"),
        *("--stages.world_model.max_steps", "600", "--evaluation.env_id", "none"),
        *("--stages.world_model.val_check_interval", "600", "--trainer.accelerator", "cpu"),
        *("--run_dir", str(run)),
    ]
    assert main(arguments) == 0
    with (run / "world_model" / "metrics.csv").open() as file:
        values = [row.get("held_out/action_r2_inverse") for row in csv.DictReader(file)]
    return float([value for value in values if value][-1])


@pytest.mark.slow
def test_videos_beside_two_labelled_episodes_tell_more_than_these_alone(tmp_path: Path) -> None:
    """Sixty mp4 files, of which nobody says what was done, raise the held-out R^2."""
    video = film_shard(tmp_path / "video.h5", 60, 20, seed=1)
    labelled = record(tmp_path / "labelled.h5", 8, 20, seed=2)
    mixed = held_out_r2(labelled, video, tmp_path / "mixed", 0.5)
    alone = held_out_r2(labelled, video, tmp_path / "alone", 1.0)
    assert mixed > 0.0
    assert mixed > alone + 0.1
