"""Real mp4 files beside a labelled shard, from the command line to a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from pixel_system import film_shard, record

from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule

pytest.importorskip("av")


def test_filmed_and_recorded_episodes_look_alike(tmp_path: Path) -> None:
    """One seed films and records the same ball: the codec and the scaling hardly show."""
    video = film_shard(tmp_path / "video.h5", 2, 12, seed=3)
    labelled = record(tmp_path / "labelled.h5", 2, 12, seed=3)
    data = MixedTrajectoryDataModule(
        str(labelled), str(video), held_out="none", batch_size=8, window=12
    )
    assert data.summary()["action-free transitions"] == 24
    batch = next(iter(data.train_dataloader()))
    assert batch.source is not None
    pixels, where = batch.obs["pixels"].float(), [data.describe(batch)[row] for row in range(8)]
    episode = [text.split("episode ")[1].split(",")[0] for text in where]
    for free in range(batch.num_labelled, 8):
        twins = [row for row in range(batch.num_labelled) if episode[row] == episode[free]]
        for row in twins:
            away = (pixels[free] - pixels[row]).abs()
            assert away.mean() < 4.0 and away.max() < 60.0, (away.mean(), away.max())
    assert {*episode[: batch.num_labelled]} & {*episode[batch.num_labelled :]}, "some were compared"
