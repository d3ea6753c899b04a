"""Data without rewards train no policy, and are refused before stage 1 is paid for."""

from __future__ import annotations

import json

from shard_factory import write_shard
from tiny_runs import ACTION_DIM, CONF, ENV_ID, OBS_DIM, tiny_fit

from lawm.data_modules.shard_reader import read_shard_header

KEEP = ("--data.rewards_on_action_free", "true")


def shard(folder, name, **what):
    kind = {"obs_dim": OBS_DIM, "action_dim": ACTION_DIM, "counter": False, "env_id": ENV_ID}
    return write_shard(folder / name, lengths=[20] * 12, **kind, **what)


def error_of(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_no_reward_at_all_is_refused_before_anything_is_trained(tmp_path, capsys):
    data, run = shard(tmp_path, "a.h5", has_reward=False), tmp_path / "run"
    for more in ((), KEEP):
        assert tiny_fit(data, run, *more) == 2
        error = error_of(capsys)
        assert "none of the 10 training episodes" in error
        for way_out in ("--stage world_model", "conf/bc.yaml", "behaviour_cloning"):
            assert way_out in error
        assert "rewards_on_action_free" not in error
        assert not run.exists()


def test_rewards_that_are_hidden_are_named_and_can_be_kept(tmp_path, capsys):
    data = shard(tmp_path, "a.h5", has_reward=False)
    free = ("--data.action_free_shards", str(shard(tmp_path, "b.h5", has_action=False)))
    assert tiny_fit(data, tmp_path / "run", *free) == 2
    assert (
        "12 action-free episodes have rewards that are hidden: --data.rewards_on_action_free true"
        in error_of(capsys)
    )
    assert tiny_fit(data, tmp_path / "run", *free, "--data.labelled_ratio", "1") == 2
    assert "rewards_on_action_free true keeps" not in error_of(capsys), (
        "no batch would contain them"
    )
    assert tiny_fit(data, tmp_path / "run", *free, *KEEP) == 0


def test_a_world_model_and_a_clone_need_no_rewards(tmp_path, capsys):
    data, run = shard(tmp_path, "a.h5", has_reward=False), tmp_path / "run"
    assert tiny_fit(data, run, "--stage", "world_model") == 0
    assert "rewards on 0 of those" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert json.loads((run / "report.json").read_text())["data"]["episodes with rewards"] == 0
    cloning = ("--config", str(CONF / "bc.yaml"), "--config", str(CONF / "debug.yaml"))
    assert tiny_fit(data, tmp_path / "clone", *cloning) == 0


def test_rewards_of_held_out_episodes_are_none_to_train_for(tmp_path, capsys):
    data = shard(tmp_path, "a.h5", has_reward=[True] + [False] * 11)
    labels = {"format": "lawm-labels", "version": 1}
    part = {"labelled": [1, 2, 3], "held_out": [0], "name": "a.h5"}
    part["checksum"] = read_shard_header(data)[0].checksum
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({**labels, "shards": [part]}))
    assert tiny_fit(data, tmp_path / "run", "--data.labels", str(file)) == 2
    assert "none of the 11 training episodes" in error_of(capsys)
