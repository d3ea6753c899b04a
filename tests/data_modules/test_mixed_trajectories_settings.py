from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser
from shard_factory import write_shard

from lawm.data_modules import MixedTrajectoryDataModule, mixed_trajectories
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError


@pytest.mark.parametrize("labels", ["2", "all"])
def test_window_longer_than_any_episode(tmp_path, labels):
    path = write_shard(tmp_path / "a.h5", lengths=[9] * 4)
    data = MixedTrajectoryDataModule(str(path), labels=labels, held_out="1", window=10)
    with pytest.raises(
        LawmError,
        match=r"data\.window is 10, longer than any labelled .*a\.h5.*Set it to 9 or less",
    ):
        data.setup()


def test_window_longer_than_any_action_free_episode(tmp_path):
    labelled = write_shard(tmp_path / "a.h5", lengths=[9] * 3)
    free = write_shard(tmp_path / "b.h5", lengths=[3, 5])
    data = MixedTrajectoryDataModule(str(labelled), str(free), held_out="1", window=6)
    with pytest.raises(LawmError, match=r"window is 6, longer than any action-free.*Set it to 5"):
        data.setup()


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_ratio_outside_of_its_range(ratio):
    with pytest.raises(LawmError, match=r"data\.labelled_ratio is .*; expected a share .* up to 1"):
        MixedTrajectoryDataModule(["x.h5"], labelled_ratio=ratio)


@pytest.mark.parametrize(
    ("key", "value"), [("batch_size", 0), ("window", 0), ("label_seed", -1), ("seed", -1)]
)
def test_numbers_below_their_least(key, value):
    with pytest.raises(LawmError, match=rf"data\.{key} is {value}; expected a whole number from"):
        MixedTrajectoryDataModule(["x.h5"], **{key: value})


def test_no_shards():
    with pytest.raises(LawmError, match=r"data\.shards is empty"):
        MixedTrajectoryDataModule([])


def test_missing_shard(tmp_path):
    data = MixedTrajectoryDataModule([str(tmp_path / "no.h5")])
    with pytest.raises(LawmError, match=r"data\.shards names '.*no\.h5', but there is no"):
        data.setup()


def test_settings_from_yaml_and_command_line():
    parser = LightningArgumentParser()
    parser.add_class_arguments(MixedTrajectoryDataModule, "data")
    parsed = parser.parse_args(
        ["--data.shards", "a.h5", "--data.labels", "12", "--data.held_out=none"]
    )
    data = parser.instantiate(parsed).data
    assert (data._shards, data._plan.labels.count, data._plan.held_out.count) == (["a.h5"], 12, 0)
    text = "data: {shards: [a.h5, 'b*.h5'], action_free_shards: [c.h5], labels: 10%, held_out: 3}"
    data = parser.instantiate(parser.parse_string(text)).data
    assert (data._shards, data._action_free_shards) == (["a.h5", "b*.h5"], ["c.h5"])
    assert (float(data._plan.labels.share), data._plan.held_out.count) == (0.1, 3)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (None, ["camera", "state"]),
        (["camera"], ["camera"]),
        (["state"], ["state"]),
        (["state", "camera"], ["camera", "state"]),
    ],
)
@pytest.mark.parametrize("storage", ["memory", "mapped", "stream"])
def test_observation_keys_choose_what_is_read(tmp_path, keys, expected, storage):
    path = write_shard(tmp_path / "a.h5", lengths=[6] * 4, image=True)
    data = MixedTrajectoryDataModule(
        str(path),
        held_out="1",
        window=4,
        batch_size=2,
        storage=storage,
        cache_dir=str(tmp_path / "cache"),
        observation_keys=keys,
    )
    assert list(data.spec.observations) == expected
    for batch in (next(iter(data.train_dataloader())), next(data.episodes())):
        assert list(batch.obs) == expected
        for key, value in batch.obs.items():
            assert value.dtype == (torch.uint8 if key == "camera" else torch.float32)


def test_an_observation_without_numbers(tmp_path):
    path, one, sizes = tmp_path / "a.h5", np.ones(2), {"state": 3, "none": 0}
    with ShardWriter(path, action_low=-one, action_high=one) as writer:
        for number in range(4):
            writer.add_episode(
                {key: np.full((7, size), number, np.float32) for key, size in sizes.items()},
                action=np.zeros((6, 2)),
                reward=np.zeros(6),
                terminated=False,
                truncated=True,
                source_id=str(number),
            )
    message = r"`none` of .*a\.h5 has shape \(0,\), which is no number at all; name the other keys"
    with pytest.raises(LawmError, match=message):
        MixedTrajectoryDataModule(str(path)).setup()
    MixedTrajectoryDataModule(str(path), window=3, observation_keys=["state"]).setup()


def test_an_observation_key_that_a_shard_lacks(tmp_path):
    both = write_shard(tmp_path / "a.h5", lengths=[6] * 4, image=True)
    state = write_shard(tmp_path / "b.h5", lengths=[6] * 4, seed=1)
    data = MixedTrajectoryDataModule([str(both), str(state)], observation_keys=["camera"])
    message = r"observation_keys asks for camera, but .*b\.h5 has state\. Name keys that all"
    with pytest.raises(LawmError, match=message):
        data.setup()


def test_no_observation_key(tmp_path):
    with pytest.raises(LawmError, match=r"observation_keys is empty; name at least one key"):
        MixedTrajectoryDataModule(str(tmp_path / "a.h5"), observation_keys=[])


@pytest.mark.parametrize("storage", ["memory", "mapped", "stream"])
def test_states_that_are_not_used_come_with_held_out_windows_alone(tmp_path, storage):
    path = write_shard(tmp_path / "a.h5", lengths=[6, 7, 8, 9], image=True)
    settings = {"held_out": "2", "window": 3, "batch_size": 2, "storage": storage}
    settings["cache_dir"] = str(tmp_path / "cache")
    both = MixedTrajectoryDataModule(str(path), **settings)
    chosen = MixedTrajectoryDataModule(str(path), **settings, observation_keys=["camera"])
    pairs = zip(both.val_dataloader(), chosen.val_dataloader(), strict=True)
    for whole, batch in pairs:
        assert list(batch.probe) == ["state"]
        assert batch.probe["state"].equal(whole.obs["state"])
        assert batch.to("cpu").probe["state"].equal(batch.probe["state"])
        assert whole.probe == {}
    assert next(iter(chosen.train_dataloader())).probe == {}
    with pytest.raises(AssertionError, match="probe of training data"):
        chosen.store.held_out_windows(chosen.store.offset[[2]], 3)


def test_episodes_come_in_smaller_chunks_where_images_are_large(tmp_path, monkeypatch):
    path = write_shard(tmp_path / "a.h5", lengths=[9] * 8, image=True)
    data = MixedTrajectoryDataModule(str(path), held_out="none", window=3)
    assert [len(chunk.length) for chunk in data.episodes()] == [8]
    monkeypatch.setattr(mixed_trajectories, "CHUNK_BYTES", 3 * 10 * (8 * 8 * 3 + 12) + 5)
    chunks = list(data.episodes())
    assert [len(chunk.length) for chunk in chunks] == [3, 3, 2]
    monkeypatch.setattr(mixed_trajectories, "CHUNK_BYTES", 1)
    assert [len(chunk.length) for chunk in data.episodes()] == [1] * 8
