from __future__ import annotations

import pytest
from lightning.pytorch.cli import LightningArgumentParser
from shard_factory import write_shard

from lawm.data_modules import MixedTrajectoryDataModule
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
    assert (data._shards, data._labels.count, data._held_out.count) == (["a.h5"], 12, 0)
    text = "data: {shards: [a.h5, 'b*.h5'], action_free_shards: [c.h5], labels: 10%, held_out: 3}"
    data = parser.instantiate(parser.parse_string(text)).data
    assert (data._shards, data._action_free_shards) == (["a.h5", "b*.h5"], ["c.h5"])
    assert (float(data._labels.share), data._held_out.count) == (0.1, 3)
