"""Action-free pictures beside labelled shards with states and pictures, as videos give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lawm.cli import main
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError

SHAPE = (8, 8, 3)
VIDEO_LENGTHS, LABELLED_LENGTHS = (9, 7), (6, 8, 6, 8)


def write(path: Path, lengths: tuple[int, ...], *, video: bool, **meta: Any) -> Path:
    """Pixels count steps, 100 more in videos; the labelled shard has all the rest as well."""
    shape = meta.pop("shape", SHAPE)
    bounds = np.zeros(0) if video else 2.0 * np.ones(2)
    with ShardWriter(path, action_low=-bounds, action_high=bounds, **meta) as writer:
        for number, length in enumerate(lengths):
            level = np.arange(length + 1, dtype=np.uint8) + 100 * video
            obs: dict[str, Any] = {
                "pixels": np.full((length + 1, *shape), level[:, None, None, None])
            }
            if not video:
                obs["state"] = np.ones((length + 1, 3))
            writer.add_episode(
                obs,
                None if video else np.full((length, 2), 0.5),
                None if video else np.ones(length),
                terminated=False,
                truncated=True,
                source_id=str(number),
            )
    return path


def labelled(folder: Path, name: str = "labelled.h5", **meta: Any) -> Path:
    known: dict[str, Any] = {
        "env_id": "dm_control/cheetah-run",
        "action_repeat": 2,
        "control_timestep": 0.01,
    }
    return write(folder / name, LABELLED_LENGTHS, video=False, **(known | meta))


def video(folder: Path, name: str = "video.h5", **meta: Any) -> Path:
    known: dict[str, Any] = {"action_repeat": 1, "control_timestep": 0.02}
    return write(folder / name, VIDEO_LENGTHS, video=True, **(known | meta))


def module(shards: list[Path], free: list[Path], **options: Any) -> MixedTrajectoryDataModule:
    settings: dict[str, Any] = {
        "observation_keys": ["pixels"],
        "held_out": "1 episodes",
        "batch_size": 8,
        "window": 4,
    }
    data = MixedTrajectoryDataModule(
        [str(path) for path in shards], [str(path) for path in free], **(settings | options)
    )
    data.setup()
    return data


@pytest.mark.parametrize(
    ("storage", "listed_first"), [("memory", True), ("mapped", False), ("stream", True)]
)
def test_videos_are_the_unlabelled_half(tmp_path: Path, storage: Any, listed_first: bool) -> None:
    known, clip = labelled(tmp_path), video(tmp_path)
    shards, free = ([clip, known], []) if listed_first else ([known], [clip])
    data = module(
        shards,
        free,
        labels="2 episodes",
        labelled_ratio=0.5,
        storage=storage,
        cache_dir=str(tmp_path / "cache"),
        workers=0,
    )
    spec, summary = data.spec, data.summary()
    assert list(spec.observations) == ["pixels"]
    assert (spec.env_id, spec.action_low) == ("dm_control/cheetah-run", (-2.0, -2.0))
    assert (spec.action_repeat, spec.control_timestep) == (2, 0.01), "of the shard with actions"
    assert spec.return_best > 0
    assert summary["labelled episodes"] == 2 and summary["held-out episodes"] == 1
    assert summary["action-free episodes"] == 3, "two videos and the episode whose label is hidden"
    batch = next(iter(data.train_dataloader()))
    assert batch.action.shape == (batch.num_labelled, 4, 2) and batch.num_labelled == 4
    assert batch.has_reward.tolist() == [True] * batch.num_labelled
    levels = batch.obs["pixels"][:, :, 0, 0, 0].int()
    assert (levels[:4] < 100).all() and (levels[4:] >= 100).any()
    assert (levels[:, 1:] - levels[:, :-1] == 1).all(), "windows keep the order of the frames"
    starts = list(data.episodes())
    assert sum(len(batch.length) for batch in starts) == data.num_training_episodes == 5
    assert not np.isnan(starts[0].reward.numpy()).any()


def test_a_label_budget_counts_episodes_with_actions(tmp_path: Path) -> None:
    known, clip = labelled(tmp_path), video(tmp_path)
    data = module([known, clip], [], labels="100%")
    assert data.summary()["labelled episodes"] == 3
    with pytest.raises(LawmError, match="asks for 4 labelled episodes, but only 3 with actions"):
        module([known, clip], [], labels=4)
    with pytest.raises(LawmError, match=r"No episode in data\.shards .* has actions"):
        module([clip], [])


def test_a_label_file_beside_videos(tmp_path: Path) -> None:
    known, clip = labelled(tmp_path), video(tmp_path)
    labels = tmp_path / "labels.json"
    words = ["label", str(known), "--out", str(labels), "--labels", "50%", "--held-out", "1"]
    assert main(["data", *words]) == 0
    data = module([known], [clip], labels=str(labels))
    assert data.summary()["labelled episodes"] == 2
    assert data.summary()["action-free episodes"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"control_timestep": 0.03},
            r"video\.h5 has steps .* of 0\.03 s, but .*labelled\.h5 has 0\.02",
        ),
        ({"shape": (8, 6, 3)}, r"video\.h5 has observations .*8, 6, 3.*labelled\.h5 has .*8, 8, 3"),
        ({"env_id": "dm_control/walker-walk"}, r"video\.h5 has env_id .*walker-walk, but .*label"),
    ],
)
def test_what_does_not_fit_names_both_files(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(LawmError, match=message):
        module([labelled(tmp_path)], [video(tmp_path, **change)])


def test_without_the_key_a_sentence_names_it(tmp_path: Path) -> None:
    hint = r"Or use what they share: data\.observation_keys=\[pixels\]"
    with pytest.raises(LawmError, match=hint):
        module([labelled(tmp_path)], [video(tmp_path)], observation_keys=None)


def test_a_step_of_unknown_length_agrees(tmp_path: Path) -> None:
    data = module([labelled(tmp_path)], [video(tmp_path, control_timestep=0.0)])
    assert data.spec.control_timestep == 0.01
    timeless = labelled(tmp_path, "timeless.h5", control_timestep=0.0)
    data = module([timeless], [video(tmp_path, "other.h5")])
    assert (data.spec.control_timestep, data.spec.action_repeat) == (0.01, 2), "as the video says"
