"""What other packages wrote themselves, see ``tests/data``: the dynamics show every alignment.

In all of these files s' = s / 2 + a B, and the reward of a transition is the sum of s'.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.import_report import ImportReport
from lawm.data_modules.importers.registry import FORMATS, importer_named
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

FILES = Path(__file__).parents[2] / "data"
B = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], np.float32)
SOURCES = {
    "dreamerv2": (FILES / "dreamerv2_episodes", "vector", 3, {6, 7, 8}),
    "dreamerv3": (FILES / "dreamerv3_replay", "vector", 8, {4, 6, 7, 8}),
    # The recorder leaves out the observation of the reset
    "stable-worldmodel": (FILES / "stable_worldmodel.h5", "proprio", 3, {5, 6, 7}),
    "lerobot": (FILES / "lerobot_v3", "state", 2, {11, 8}),
}


def imported(source: Path, folder: Path, **options: Any) -> tuple[ImportReport, Shard]:
    path = folder / "out.h5"
    report = run_import(source, path, ImportOptions(overwrite=True, **options))
    return report, read_shard(path, verify=True)


def episodes(shard: Shard) -> list[slice]:
    """The transitions of each episode."""
    ends = zip(shard.episodes.offset[:-1], shard.episodes.offset[1:], strict=True)
    return [slice(start, end - 1) for start, end in ends]


def after(steps: slice) -> slice:
    return slice(steps.start + 1, steps.stop + 1)


@pytest.mark.parametrize("name", SOURCES)
def test_actions_and_rewards_are_those_of_their_transition(tmp_path: Path, name: str) -> None:
    source, key, num, lengths = SOURCES[name]
    if name == "lerobot":
        pytest.importorskip("pyarrow")
        pytest.importorskip("av")
    recognised = [f for f in FORMATS if importer_named(f).recognises(source).found]
    assert recognised == [name]
    report, shard = imported(source, tmp_path)
    json.dumps(report.to_dict(), allow_nan=False)
    assert shard.episodes.num_episodes == num
    assert set(shard.episodes.lengths.tolist()) == lengths
    state, action, reward = shard.obs[key], shard.action, shard.reward
    assert action is not None and reward is not None
    for steps in episodes(shard):
        np.testing.assert_array_equal(state[after(steps)], state[steps] / 2 + action[steps] @ B)
        np.testing.assert_array_equal(reward[steps], state[after(steps)].sum(axis=1))


def test_dreamerv3_pictures_follow_their_episodes_across_files(tmp_path: Path) -> None:
    _, shard = imported(SOURCES["dreamerv3"][0], tmp_path)
    seen = []
    for steps in episodes(shard):
        step, episode, worker = shard.obs["image"][steps.start : steps.stop + 1, 0, 0].T
        np.testing.assert_array_equal(step, np.arange(len(step)))
        assert len(set(episode)) == len(set(worker)) == 1
        finished = len(step) - 1 == 6 + episode[0]
        assert finished == (episode[0] < 3)  # the fourth episode of each was still running
        assert bool(shard.terminated[steps.stop - 1]) == (finished and worker[0] == 1)
        seen.append((int(worker[0]), int(episode[0])))
    assert seen == [(worker, episode) for worker in range(2) for episode in range(4)]


def test_dreamerv2_pictures_and_ends(tmp_path: Path) -> None:
    _, shard = imported(SOURCES["dreamerv2"][0], tmp_path)
    for steps in episodes(shard):
        step, episode, _ = shard.obs["image"][steps.start : steps.stop + 1, 0, 0].T
        np.testing.assert_array_equal(step, np.arange(7 + episode[0]))
        assert bool(shard.terminated[steps.stop - 1]) == (episode[0] == 1)


# ---- stable-worldmodel


def test_stable_worldmodel_leaves_out_what_the_agent_did_not_see(tmp_path: Path) -> None:
    report, shard = imported(SOURCES["stable-worldmodel"][0], tmp_path)
    assert set(shard.obs) == {"pixels", "proprio"}
    assert set(report.plan.left_out) == {"step_idx", "id", "render_time"}
    assert report.plan.reward_convention == "led_into"
    np.testing.assert_array_equal(shard.obs["pixels"][:6, 0, 0, 0], np.arange(1, 7))
    assert shard.terminated.sum() == 3


BROKEN_INDEX = {
    "beyond": ("ep_len", [6, 7, 9], r"Episode 2 of .* has 9 rows from row 13 on, of 21 in all"),
    "overlap": ("ep_offset", [0, 5, 13], "Episode 1 of .* behind those of the episode before"),
    "negative": ("ep_offset", [-1, 6, 13], "Episode 0 of .* from row -1 on"),
    "huge": ("ep_offset", [0, 6, 2**62], "Episode 2 of"),
    "fewer": ("ep_len", [6, 7], "has 2 numbers and `/ep_offset` 3"),
    "empty": ("ep_len", [6, 0, 8], "Episode 1 of .* has 0 rows"),
    "floats": ("ep_len", [6.0, 7.0, 8.0], "`/ep_len` of .* has type float64"),
    "columns": ("reward", [1.0], "The columns of .* 'reward': 1.* all with the same number"),
}


@pytest.mark.parametrize("case", BROKEN_INDEX)
def test_a_broken_index_is_a_sentence(tmp_path: Path, case: str) -> None:
    name, values, message = BROKEN_INDEX[case]
    path = tmp_path / "broken.h5"
    shutil.copy(SOURCES["stable-worldmodel"][0], path)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = np.array(values)
    with pytest.raises(LawmError, match=message):
        imported(path, tmp_path)
    assert not (tmp_path / "out.h5").exists()
