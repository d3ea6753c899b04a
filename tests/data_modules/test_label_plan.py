"""A run says at its start which actions, of those that the data have, it does not look at."""

from __future__ import annotations

import logging

import pytest
from shard_factory import write_shard

from lawm.cli import main
from lawm.data_modules import MixedTrajectoryDataModule


@pytest.fixture
def shard(tmp_path):
    """Twelve episodes, eight of them with actions."""
    return write_shard(tmp_path / "a.h5", lengths=[8] * 12, has_action=[True] * 8 + [False] * 4)


def told(caplog, *shards, **settings):
    """What a data module says of labels."""
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        MixedTrajectoryDataModule(*map(str, shards), window=4, batch_size=4, **settings).setup()
    return [record.message for record in caplog.records if "data.labels" in record.message]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"labels": "10%", "held_out": "1"},
            "data.labels 10%: of 8 episodes with actions in data.shards 1 keeps them, 6 have them "
            "hidden, 1 is held out; --data.labels all hides none.",
        ),
        (
            {"labels": 5, "held_out": "2"},
            "data.labels 5: of 8 episodes with actions in data.shards 5 keep them, 1 has them "
            "hidden, 2 are held out; --data.labels all hides none.",
        ),
    ],
)
def test_hidden_labels_are_counted(shard, caplog, settings, expected):
    assert told(caplog, shard, **settings) == [expected]


@pytest.mark.parametrize("labels", ["all", "7 episodes"])
def test_nothing_is_said_where_nothing_is_hidden(shard, tmp_path, caplog, labels):
    """The actions of action_free_shards are not used by definition."""
    free = write_shard(tmp_path / "b.h5", lengths=[8] * 3)
    assert told(caplog, shard, free, labels=labels, held_out="1") == []


def test_a_label_file_is_named(shard, tmp_path, caplog):
    file = tmp_path / "labels.json"
    budget = ["--labels", "3", "--held-out", "1"]
    assert main(["data", "label", str(shard), "--out", str(file), *budget]) == 0
    (line,) = told(caplog, shard, labels=str(file))
    assert line.startswith(f"data.labels {file}: of 8 episodes with actions in data.shards 3 keep")
    assert "4 have them hidden" in line
