"""What holds for every format: the recordings come back, whatever wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_factory import write_shard
from source_writers import SOURCES, Recording, recordings, write_plain_numpy

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.registry import FORMATS, detect_format, importer_named
from lawm.data_modules.importers.run_import import plan_import, run_import
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

# Formats whose last action has no outcome in the file
TAIL_IS_LOST = {"d4rl, no final", "robomimic, no final", "laom"}
KEEPS_TERMINAL = {"d4rl", "minari", "minari, dict", "minari, tuple", "robomimic"}
HAS_REWARD = set(SOURCES) - {"ogbench", "ogbench, image", "laom"}
STATE_KEY = {
    "minari, dict": "robot_pos",
    "minari, tuple": "0",
    "robomimic": "robot0_eef_pos",
    "robomimic, no final": "robot0_eef_pos",
}
IMAGE_KEY = {
    "minari, dict": "camera",
    "robomimic": "agentview_image",
    "robomimic, no final": "agentview_image",
    "ogbench, image": "image",
    "laom": "image",
}


def kept(kind: str, episode: Recording) -> int:
    """Transitions that can be imported."""
    if kind == "numpy":
        return 3
    return len(episode.action) - (kind in TAIL_IS_LOST)


@pytest.mark.parametrize(("source", "kind"), [(k, k) for k in SOURCES], indirect=["source"])
def test_every_number_comes_back(source: Path, kind: str, made: list[Recording]) -> None:
    before = sorted(source.parent.rglob("*"))
    path = source.parent / "out.h5"
    plan = plan_import(source, path, ImportOptions()).to_dict()
    assert sorted(source.parent.rglob("*")) == before, "a plan writes nothing"

    report = run_import(source, path, ImportOptions()).to_dict()
    assert {key: report[key] for key in plan} == plan
    assert report["format"] == kind.split(",")[0]
    shard = read_shard(path, verify=True)
    check_numbers(shard, kind, made)
    check_report(report, shard, kind, made)


def check_numbers(shard: Shard, kind: str, made: list[Recording]) -> None:
    """The shard holds the recordings, but for what the format cannot hold."""
    offset = shard.episodes.offset
    assert shard.episodes.lengths.tolist() == [kept(kind, episode) for episode in made]
    assert (shard.reward is not None) == (kind in HAS_REWARD)
    assert shard.action is not None
    for index, (episode, start) in enumerate(zip(made, offset, strict=False)):
        num = kept(kind, episode)
        rows, steps = slice(start, start + num + 1), slice(start, start + num)
        if kind != "ogbench, image":
            state = shard.obs[STATE_KEY.get(kind, "state")]
            np.testing.assert_array_equal(state[rows], episode.state[: num + 1])
        if kind in IMAGE_KEY:
            image = shard.obs[IMAGE_KEY[kind]]
            np.testing.assert_array_equal(image[rows], episode.image[: num + 1])
        np.testing.assert_array_equal(shard.action[steps], episode.action[:num])
        if shard.reward is not None:
            np.testing.assert_array_equal(shard.reward[steps], episode.reward[:num])
        ended = episode.terminated and kind in KEEPS_TERMINAL
        assert bool(shard.terminated[start + num - 1]) == ended
        assert bool(shard.truncated[start + num - 1]) != ended
        assert shard.episodes.source_id[index].split("/")[-1].lstrip("demoisp_") == str(index)


def check_report(report: dict[str, Any], shard: Shard, kind: str, made: list[Recording]) -> None:
    """The report agrees with the shard and tells what was lost."""
    json.dumps(report, allow_nan=False)
    lengths = [kept(kind, episode) for episode in made]
    assert report["episodes"] == len(made)
    assert report["transitions"] == sum(lengths)
    assert report["lengths"] == {
        "min": min(lengths),
        "median": float(np.median(lengths)),
        "max": max(lengths),
    }
    assert report["episodes_with_actions"] == len(made)
    assert report["episodes_with_rewards"] == (len(made) if kind in HAS_REWARD else 0)
    dropped = report["dropped"]
    lost = kind in TAIL_IS_LOST
    # OGBench writes an action at the last observation as well
    assert dropped["last_actions_without_outcome"] == len(made) * (lost or "ogbench" in kind)
    rewards = sum(float(e.reward[-1]) for e in made) if lost and kind in HAS_REWARD else 0.0
    assert dropped["sum_of_those_rewards"] == pytest.approx(rewards)
    assert report["checksum"] == shard.meta.checksum
    stored = shard.meta.provenance["import"]
    assert stored == {key: value for key, value in report.items() if key != "checksum"}
    stated = report["observations"]
    assert {key: (stated[key]["dtype"], tuple(stated[key]["shape"])) for key in stated} == {
        key: (str(rows.dtype), rows.shape[1:]) for key, rows in shard.obs.items()
    }


@pytest.mark.parametrize(("source", "kind"), [(k, k) for k in SOURCES], indirect=["source"])
def test_only_its_own_importer_recognises_a_source(source: Path, kind: str) -> None:
    found = [name for name in FORMATS if importer_named(name).recognises(source).found]
    assert found == [kind.split(",")[0]]


FROM_EACH_KIND_OF_FILE = ["numpy", "ogbench", "d4rl, no final", "minari"]


@pytest.mark.parametrize("source", FROM_EACH_KIND_OF_FILE, indirect=True)
def test_the_first_episodes_alone(source: Path) -> None:
    whole, part = source.parent / "whole.h5", source.parent / "part.h5"
    run_import(source, whole, ImportOptions())
    run_import(source, part, ImportOptions(max_episodes=2))
    first, all_of_it = read_shard(part), read_shard(whole)
    assert first.episodes.num_episodes == 2
    for key, rows in first.obs.items():
        np.testing.assert_array_equal(rows, all_of_it.obs[key][: len(rows)])


@pytest.mark.parametrize("source", FROM_EACH_KIND_OF_FILE, indirect=True)
def test_without_actions(source: Path) -> None:
    report = run_import(source, source.parent / "out.h5", ImportOptions(action_free=True))
    assert report.counts is not None and report.counts.with_actions == 0
    shard = read_shard(source.parent / "out.h5")
    assert shard.action is None
    assert shard.meta.action_dim == 0


def test_what_is_of_no_format(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(LawmError, match=r"of no format that lawm knows\. What was") as told:
        detect_format(path)
    assert all(f"\n  {name}: " in str(told.value) for name in FORMATS)


def test_a_shard_needs_no_import(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match="is a shard of lawm's already"):
        detect_format(write_shard(tmp_path / "x.h5", lengths=[3]))


def test_what_could_be_of_two_formats(tmp_path: Path) -> None:
    path, made = tmp_path / "both.npz", recordings([3, 3])
    write_plain_numpy(path, made)
    with np.load(path) as archive:
        arrays = dict(archive)
    rows = {"observations": np.zeros((4, 3)), "actions": np.zeros((4, 2)), "terminals": np.ones(4)}
    np.savez(path, **arrays, **rows)
    with pytest.raises(LawmError, match=r"could be of 2 formats: numpy .*; ogbench .* --format"):
        run_import(path, tmp_path / "out.h5", ImportOptions())
    run_import(path, tmp_path / "out.h5", ImportOptions(format="numpy"))
