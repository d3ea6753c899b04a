"""Hidden labels cannot leak: as garbage on disk they change no bit of either stage."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from shard_factory import write_shard
from tiny_runs import CONF

from lawm.cli import main
from lawm.data_modules.label_budget import parse_budget
from lawm.data_modules.shard_file import checksum
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.trajectory_split import split_episodes
from lawm.fit_config import STAGES

PRESETS = {  # the configurations of conf/ under which labels are hidden, and their budget
    "cheetah": (["cheetah"], "10%"),
    **{
        task: ([task], "10%")
        for task in ("walker", "walker_rollouts", "finger", "finger_rollouts", "cartpole")
    },
    **{
        baseline: (["cheetah", baseline], "10%")
        for baseline in ("labelled_only", "pseudo_label", "masked_action", "bc", "bc_pseudo_label")
    },
}
NOT_HIDDEN = {"oracle"}  # all labels known
NOT_HIDDEN |= {"debug", "pixels_small", "pixels_12m", "pixels_25m"}  # sizes alone
TIMES = ("throughput", "time")
STORAGES = ("memory", "mapped", "stream")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return write_shard(
        tmp_path_factory.mktemp("data") / "a.h5", lengths=[10] * 24, counter=False, image=False
    )


def with_garbage(source, target, episodes, names):
    """A copy of a shard with other actions or rewards in some episodes, checksums adapted."""
    target.write_bytes(source.read_bytes())
    rng = np.random.default_rng(1)
    with h5py.File(target, "r+") as file:
        offset = file["episode/offset"][()]
        for episode in episodes:
            rows = slice(offset[episode], offset[episode + 1] - 1)
            for name in names:
                shape = file[name][rows].shape
                file[name][rows] = rng.uniform(-1e6, 1e6, shape).astype(np.float32)
            if "reward" in names:
                file["episode/return"][episode] = file["reward"][rows].sum(dtype=np.float64)
        for name in (*names, "episode/return"):
            file[name].attrs["sha256"] = np.bytes_(checksum(file[name][()]).encode())
    return target


def hidden_episodes(shard, labels):
    split = split_episodes(
        read_headers([shard], []),
        labels=parse_budget(labels, "labels"),
        held_out=parse_budget("5%", "held_out"),
        seed=0,
    )
    assert len(split.free) > 0
    return split


def run(shard, folder, presets, *more):
    """Both stages; every logged number and every weight."""
    configs = [word for name in (*presets, "debug") for word in ("--config", f"{CONF}/{name}.yaml")]
    assert (
        main(
            [
                "fit",
                *configs,
                *("--data.shards", str(shard), "--run_dir", str(folder)),
                *("--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"),
                *("--evaluation.env_id", "none", "--data.cache_dir", str(folder.parent / "cache")),
                *("--stages.world_model.max_steps", "6", "--stages.policy.max_steps", "4"),
                *("--stages.inverse_dynamics.max_steps", "6"),
                *("--stages.world_model.val_check_interval", "3"),
                *more,
            ]
        )
        == 0
    )
    numbers, weights = [], []
    stages = [name for name in STAGES if (folder / name).is_dir()]
    assert "policy" in stages
    for stage in stages:
        lines = (folder / stage / "metrics.csv").read_text().splitlines()
        rows = list(csv.DictReader(lines))
        assert len(rows) >= 4
        numbers += [
            {key: value for key, value in row.items() if not key.startswith(TIMES)} for row in rows
        ]
        saved = torch.load(folder / stage / "checkpoints/last.ckpt", weights_only=True)
        weights += sorted(saved["state_dict"].items())
    assert any("loss" in key for row in numbers for key in row)
    return numbers, weights


@pytest.fixture(scope="module")
def clean_run(shard, tmp_path_factory):
    """The run of a preset on the shard as it is, made once."""

    @lru_cache
    def run_once(preset):
        return run(shard, tmp_path_factory.mktemp("clean") / "run", PRESETS[preset][0])

    return run_once


def is_same(one, other):
    return one[0] == other[0] and all(
        name == name_too and torch.equal(value, value_too)
        for (name, value), (name_too, value_too) in zip(one[1], other[1], strict=True)
    )


def test_every_preset_is_known_here():
    named = {name for presets, _ in PRESETS.values() for name in presets}
    assert {path.stem for path in Path(CONF).glob("*.yaml")} == named | NOT_HIDDEN


@pytest.mark.parametrize(
    ("preset", "storage"),
    [
        pytest.param(preset, storage, marks=[pytest.mark.slow] * (number > 0))
        for number, preset in enumerate(PRESETS)
        for storage in STORAGES
    ],
)
def test_hidden_labels_change_no_bit(shard, clean_run, tmp_path, preset, storage):
    presets, labels = PRESETS[preset]
    split = hidden_episodes(shard, labels)
    garbage = with_garbage(shard, tmp_path / "garbage.h5", split.free, ["action", "reward"])
    dirty = run(garbage, tmp_path / "dirty", presets, "--data.storage", storage)
    assert is_same(clean_run(preset), dirty)


@pytest.mark.slow
def test_rewards_that_are_kept_do_count_and_hidden_actions_still_do_not(shard, tmp_path):
    kept = ("--data.rewards_on_action_free", "true")
    split = hidden_episodes(shard, "10%")
    clean = run(shard, tmp_path / "clean", ["cheetah"], *kept)
    for names, same in ((["action"], True), (["reward"], False)):
        garbage = with_garbage(shard, tmp_path / f"{names[0]}.h5", split.free, names)
        found = run(garbage, tmp_path / names[0], ["cheetah"], *kept)
        assert is_same(clean, found) == same, names


def test_known_labels_do_count(shard, clean_run, tmp_path):
    """Else the tests above would show nothing."""
    split = hidden_episodes(shard, "10%")
    other = with_garbage(shard, tmp_path / "other.h5", split.labelled[:1], ["action"])
    assert not is_same(clean_run("cheetah"), run(other, tmp_path / "other", ["cheetah"]))
