from __future__ import annotations

import numpy as np
import pytest
from counted_episodes import episodes_in, make_data, training_episodes
from shard_factory import write_shard

from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.spec import DataSpec


def test_spec(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[5] * 4, env_id="dm_control/cheetah-run")
    data = make_data(path, labels="1", held_out="1")
    (held_out,) = episodes_in(data.held_out_episodes())
    returns = [5 * 1000 * e + 10 for e in range(4) if e != held_out]
    spec = data.spec
    assert (spec.env_id, spec.action_dim) == ("dm_control/cheetah-run", 2)
    assert (spec.action_low, spec.action_high) == ((-1.0, -1.0), (1.0, 1.0))
    assert (spec.return_mean, spec.return_best) == (np.mean(returns), max(returns))
    assert spec.observations["state"].shape == (3,)
    assert DataSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("where", ["training", "held out", "nowhere"])
def test_spec_tells_whether_a_training_episode_terminates(counters, tmp_path, where):
    """Held-out episodes decide nothing."""
    data, path = make_data(counters), tmp_path / "ends.h5"
    labelled, free = training_episodes(data)
    shard = read_shard(counters)
    held_out = set(range(len(shard.episodes.source_id))) - set(labelled) - set(free)
    ending = {"training": max(free), "held out": min(held_out), "nowhere": None}[where]
    bounds = {"action_low": shard.meta.action_low, "action_high": shard.meta.action_high}
    with ShardWriter(path, **bounds) as writer:
        for number, source_id in enumerate(shard.episodes.source_id):
            rows = slice(*shard.episodes.offset[number : number + 2])
            writer.add_episode(
                {key: values[rows] for key, values in shard.obs.items()},
                shard.action[rows][:-1],
                shard.reward[rows][:-1],
                terminated=number == ending,
                truncated=number != ending,
                source_id=source_id,
            )
    assert make_data(path).spec.terminates == (where == "training")


def test_spec_without_rewards(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[5] * 4, has_reward=False)
    assert np.isnan(make_data(path, labels="1", held_out="1").spec.return_best)


def test_fingerprint_tells_content_and_parts(counters, tmp_path):
    moved = write_shard(tmp_path / "moved.h5", lengths=[6 + e % 5 for e in range(20)])
    other = write_shard(tmp_path / "other.h5", lengths=[7] * 20)
    reference = make_data(counters).fingerprint()
    assert make_data(moved, batch_size=3, window=2).fingerprint() == reference
    changed = [
        make_data(other),
        make_data(counters, labels="6"),
        make_data(counters, label_seed=1),
        make_data(counters, held_out="3"),
        make_data(counters, rewards_on_action_free=True),
    ]
    assert len({reference, *(data.fingerprint() for data in changed)}) == 6
