from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shard_factory import write_shard

from lawm.data_modules.shard_headers import find_shards, read_headers
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError

LOW, HIGH = -np.ones(2), np.ones(2)


def write_one(path, *, obs=None, low=LOW, high=HIGH, **meta):
    """A shard of one episode of four steps."""
    with ShardWriter(path, action_low=low, action_high=high, **meta) as writer:
        writer.add_episode(
            obs or {"state": np.random.default_rng(len(path.name)).normal(size=(5, 3))},
            np.zeros((4, len(low))) if len(low) else None,
            None,
            terminated=False,
            truncated=True,
            source_id="",
        )
    return path


def test_find_shards_expands_and_sorts(tmp_path, monkeypatch):
    names = ["b.h5", "a.h5", "deep/c.h5", "with[bracket].h5"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_shards(["?.h5"], "shards") == [Path("a.h5"), Path("b.h5")]
    assert find_shards(["**/c.h5"], "shards") == [Path("deep/c.h5")]
    assert find_shards(["with[bracket].h5"], "shards") == [Path("with[bracket].h5")]
    assert find_shards([f"{tmp_path}/*.h5"], "shards") == [
        tmp_path / name for name in ("a.h5", "b.h5", "with[bracket].h5")
    ]
    assert find_shards(["~/b.h5", "a.h5"], "shards") == [tmp_path / "b.h5", Path("a.h5")]


@pytest.mark.parametrize("pattern", ["no.h5", "no*.h5", "/no/where/*.h5"])
def test_no_such_file(pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LawmError, match=r"data\.shards names '.*', but there is no such file \(.*"):
        find_shards([pattern], "shards")


def test_same_data_twice(tmp_path):
    first = write_shard(tmp_path / "a.h5", lengths=[4, 5])
    again = write_shard(tmp_path / "copy.h5", lengths=[4, 5])
    with pytest.raises(LawmError, match=r"a\.h5 and .*copy\.h5 hold the same data.*leak"):
        read_headers([first], [again])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("env_id", {"env_id": "dm_control/walker-walk"}),
        ("action_repeat", {"action_repeat": 4}),
        ("control_timestep", {"control_timestep": 0.02}),
        ("action_low", {"low": 2 * LOW}),
        ("action_high", {"high": 2 * HIGH}),
        ("action_low", {"low": -np.ones(3), "high": np.ones(3)}),
    ],
)
def test_shards_that_disagree(tmp_path, name, change):
    meta = {"env_id": "dm_control/cheetah-run", "action_repeat": 2, "control_timestep": 0.01}
    first = write_one(tmp_path / "a.h5", **meta)
    other = write_one(tmp_path / "other.h5", **(meta | change))
    with pytest.raises(LawmError, match=rf"other\.h5 has {name} .*, but .*a\.h5 has .* must agree"):
        read_headers([first, other], [])


def test_what_a_shard_does_not_know_agrees(tmp_path):
    known = {"env_id": "dm_control/cheetah-run", "control_timestep": 0.01}
    unknown = write_one(tmp_path / "unknown.h5", low=[], high=[])
    first = write_one(tmp_path / "a.h5", **known)
    other = write_one(tmp_path / "other.h5", **(known | {"env_id": "dm_control/cheetah-walk"}))
    assert len(read_headers([unknown, first], [])) == 2
    with pytest.raises(LawmError, match="env_id"):
        read_headers([unknown, first, other], [])
