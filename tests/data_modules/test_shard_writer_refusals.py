"""What the writer of shards refuses, at once and without harm to what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from episode_adding import add, writer

from lawm.data_modules.episode_copy import copy_episodes
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError


def test_a_refused_episode_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    with writer(tmp_path / "x.h5") as target:
        add(target)
        with pytest.raises(LawmError, match="NaN"):
            add(target, reward=np.full(3, np.nan))
        add(target, reward=np.full(3, 2.0))
    shard = read_shard(tmp_path / "x.h5", verify=True)
    assert shard.episodes.episode_return.tolist() == [3.0, 6.0]


@pytest.mark.parametrize(
    ("low", "high"),
    [([-1.0], [1.0, 1.0]), ([[-1.0]], [[1.0]]), ([1.0], [1.0]), ([-np.inf], [1.0])],
)
def test_bounds_that_are_none(tmp_path: Path, low: object, high: object) -> None:
    with pytest.raises(LawmError, match=r"The action bounds for .* expected two lists of finite"):
        ShardWriter(tmp_path / "x.h5", action_low=low, action_high=high)  # type: ignore[arg-type]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no observations": ({"obs": {}}, "has observations of {} rows; expected one key or more"),
    "one row": ({"obs": {"state": np.ones((1, 4))}}, "has observations of {'state': 1} rows"),
    "unequal keys": (
        {"obs": {"state": np.ones((4, 4)), "camera": np.zeros((3, 8, 8, 3), np.uint8)}},
        "has observations of {'camera': 3, 'state': 4} rows",
    ),
    "a path as key": ({"obs": {"a/b": np.ones((4, 4))}}, "has an observation named 'a/b'"),
    "whole numbers": (
        {"obs": {"state": np.ones((4, 4), np.int64)}},
        r"has observations 'state' of type int64 and shape \(4, 4\); expected floats",
    ),
    "flat image": (
        {"obs": {"camera": np.zeros((4, 8, 8), np.uint8)}},
        r"has observations 'camera' of type uint8 and shape \(4, 8, 8\)",
    ),
    "NaN observation": (
        {"obs": {"state": np.full((4, 4), np.nan)}},
        r"Episode 0 \(made up\) for .* has observations 'state' that are NaN.* in 4 rows",
    ),
    "beyond float32": (
        {"obs": {"state": np.full((4, 4), 1e300)}},
        "has observations 'state' that are NaN, infinite or beyond float32 in 4 rows",
    ),
    "as many actions as observations": (
        {"action": np.zeros((4, 2))},
        r"has actions of type float64 and shape \(4, 2\); expected numbers of shape \(3, 2\), with",
    ),
    "other action width": (
        {"action": np.zeros((3, 1))},
        r"has actions of .* shape \(3, 1\); expected numbers of shape \(3, 2\)",
    ),
    "NaN action": (
        {"action": np.array([[0.0, 0.0], [0.0, np.nan], [0.0, 0.0]])},
        "has actions that are NaN, .* in 1 rows, the first of them row 1",
    ),
    "no keys": (
        {"obs": np.ones((4, 4))},
        r"made up.* has observations of type ndarray; expected a dict of arrays by key",
    ),
    "beyond the bounds": (
        {"action": np.array([[0.0, 0.0], [1.5, -7.0], [0.0, 2.0]])},
        r"Episode 0 \(made up\) for .*x.h5 has actions beyond their bounds in 0.33 of the values, "
        r".*the farthest is -7 in dimension 1, expected -2 to 2",
    ),
    "a little beyond": ({"action": np.full((3, 2), 1.0001)}, "beyond their bounds in 0.5 of"),
    "column of rewards": (
        {"reward": np.ones((3, 1))},
        r"has rewards of .* shape \(3, 1\); expected numbers of shape \(3,\)",
    ),
    "text": ({"reward": np.array(["a", "b", "c"])}, "has rewards of type <U1"),
    "physics": ({"physics": np.ones((3, 5))}, r"has physics of .* shape \(3, 5\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_episode_is_refused_at_once(tmp_path: Path, case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(LawmError, match=message), writer(tmp_path / "x.h5") as target:
        add(target, **changes)
    assert not list(tmp_path.iterdir())


def test_a_rounding_beyond_the_bounds_is_taken(tmp_path: Path) -> None:
    bounds = {"action_low": [1000.0], "action_high": [1000.1]}
    with writer(tmp_path / "x.h5") as target:
        add(target, action=np.array([[1.0 + 1e-6, -2.0 - 1e-6]] * 3))
    with ShardWriter(tmp_path / "y.h5", **bounds) as target:  # 1000.1 is a larger float32
        add(target, action=np.full((3, 1), 1000.1))


def test_a_copy_keeps_what_lies_beyond_the_bounds(tmp_path: Path) -> None:
    action = np.full((3, 2), 5.0)
    with writer(tmp_path / "x.h5", is_copy=True) as target:
        add(target, action=action)
    assert copy_episodes(read_headers([tmp_path / "x.h5"], []), tmp_path / "y.h5", command="") == 1
    found = read_shard(tmp_path / "y.h5").action
    assert found is not None
    np.testing.assert_array_equal(found[:3], action)


def test_a_writer_outside_of_its_context_takes_nothing(tmp_path: Path) -> None:
    target, outside = writer(tmp_path / "x.h5"), r"\(made up\) .* of .*x.h5 outside of its context"
    with pytest.raises(LawmError, match=outside):
        add(target)
    with target:
        add(target)
    with pytest.raises(LawmError, match=outside):
        add(target)
    assert read_shard(tmp_path / "x.h5").episodes.num_episodes == 1


def test_a_folder_is_told_before_an_hour_of_collecting(tmp_path: Path) -> None:
    with (
        pytest.raises(LawmError, match="is a folder; expected the name of a file"),
        writer(tmp_path, overwrite=True),
    ):
        pytest.fail("it was entered")


def test_a_source_whose_name_is_no_utf8(tmp_path: Path) -> None:
    with writer(tmp_path / "x.h5") as target:
        add(target, source_id="caf\udce9.npz")
    assert read_shard(tmp_path / "x.h5").episodes.source_id == ["caf\\udce9.npz"]


@pytest.mark.parametrize(
    "changes",
    [
        {"obs": {"state": np.ones((4, 5))}},
        {"obs": {"position": np.ones((4, 4))}},
        {"physics": np.ones((4, 5))},
    ],
    ids=["size", "key", "physics"],
)
def test_an_episode_of_another_kind(tmp_path: Path, changes: dict[str, Any]) -> None:
    with (
        pytest.raises(LawmError, match=r"Episode 1 .*A shard holds one kind of episode"),
        writer(tmp_path / "x.h5") as target,
    ):
        add(target)
        add(target, **changes)
