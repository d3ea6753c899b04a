from __future__ import annotations

import numpy as np
import pytest
import torch
from shard_factory import ACTION_SCALE, EPISODE_STRIDE, write_shard

from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.shard_writer import ShardWriter
from lawm.data_modules.store_loading import load_store
from lawm.data_modules.trajectory_split import EpisodeSplit
from lawm.errors import LawmError

LENGTHS = [7, 4, 6, 5, 8]
SPLIT = EpisodeSplit(
    held_out=np.array([2]), labelled=np.array([0, 4]), free=np.array([1, 3])
)  # held-out, labelled, free lie as episodes 2, 0, 4, 1, 3


@pytest.fixture
def store(tmp_path):
    """Counter values from two shards: three episodes in one, two in the other."""
    first = write_shard(tmp_path / "a.h5", lengths=LENGTHS[:3], image=True)
    second = write_shard(tmp_path / "b.h5", lengths=LENGTHS[3:], image=True)
    return load_store(read_headers([first, second], []), SPLIT, rewards_on_action_free=False)


def test_layout(store):
    assert store.offset.tolist() == [0, 7, 15, 24, 29, 35]
    assert (store.held_out, store.labelled, store.free) == (range(1), range(1, 3), range(3, 5))
    assert store.lengths(store.labelled).tolist() == [7, 8]
    assert store.num_transitions(store.free) == 9


def test_hidden_actions_have_no_place_in_memory(store):
    assert store.rows.tensors["action"].shape == (
        24,
        2,
    )  # rows of the held-out and labelled episodes


def test_windows_hold_what_the_shards_hold(store):
    batch = store.windows(np.array([7, 16]), np.array([25]), window=3)
    steps = torch.tensor([[0, 1, 2, 3], [1001, 1002, 1003, 1004], [1001, 1002, 1003, 1004]])
    assert torch.equal(batch.obs["state"], steps[..., None].expand(3, 4, 3).float())
    assert torch.equal(batch.obs["camera"][..., 4, 4, 1], (steps % EPISODE_STRIDE).byte())
    assert batch.obs["camera"].dtype == torch.uint8
    expected = (steps[:2, :-1, None] * ACTION_SCALE).expand(2, 3, 2)
    torch.testing.assert_close(batch.action, expected, rtol=1e-6, atol=0)
    assert torch.equal(batch.reward, steps[:2, :-1].float()), "no place for what is hidden"
    assert batch.has_reward.tolist() == [True, True]
    assert torch.equal(batch.terminated, torch.zeros(3, 3))


def test_rewards_on_action_free_are_kept_if_wanted(tmp_path):
    path = write_shard(
        tmp_path / "a.h5", lengths=[5, 5, 5], has_reward=[True, True, False], has_action=True
    )
    split = EpisodeSplit(np.array([], np.int64), labelled=np.array([0]), free=np.array([1, 2]))
    store = load_store(read_headers([path], []), split, rewards_on_action_free=True)
    batch = store.windows(np.array([0]), np.array([6, 12]), window=2)
    assert batch.has_reward.tolist() == [True, True, False]
    assert batch.reward.tolist() == [[0, 1], [1000, 1001], [0, 0]]


def test_actions_are_scaled_to_the_bounds(tmp_path):
    low, high = np.array([-2.0, 0.0]), np.array([4.0, 10.0])
    with ShardWriter(tmp_path / "a.h5", action_low=low, action_high=high, is_copy=True) as writer:
        writer.add_episode(
            {"state": np.zeros((4, 1))},
            np.array([low, (low + high) / 2, [5.0, -1.0]]),
            None,
            terminated=True,
            truncated=False,
            source_id="",
        )
    nothing = np.array([], np.int64)
    split = EpisodeSplit(held_out=nothing, labelled=np.array([0]), free=nothing)
    store = load_store(read_headers([tmp_path / "a.h5"], []), split, rewards_on_action_free=False)
    batch = store.windows(np.array([0]), nothing, window=3)
    assert batch.action.tolist() == [[[-1, -1], [0, 0], [1, -1]]]  # clipped beyond the bounds
    assert batch.terminated.tolist() == [[0, 0, 1]]
    assert batch.has_reward.tolist() == [False]


def test_statistics_are_of_the_training_episodes(store):
    specs = store.observation_specs(range(store.labelled.start, store.free.stop))
    values = np.concatenate([store.rows.tensors["obs/state"][7:, 0].double().numpy()])
    assert specs["state"].kind == "state"
    assert specs["state"].shape == (3,)
    np.testing.assert_allclose(specs["state"].mean, values.mean(), rtol=1e-12)
    np.testing.assert_allclose(specs["state"].std, values.std(), rtol=1e-12)
    assert (specs["camera"].kind, specs["camera"].shape) == ("image", (8, 8, 3))
    assert specs["camera"].mean == ()


def state_spec(path, *episodes):
    """What the store says of the states, ``(T + 1, D)`` each."""
    with ShardWriter(path, action_low=[-1.0], action_high=[1.0]) as writer:
        for states in episodes:
            writer.add_episode(
                {"state": states},
                np.zeros((len(states) - 1, 1)),
                None,
                terminated=False,
                truncated=True,
                source_id="",
            )
    nothing = np.array([], np.int64)
    split = EpisodeSplit(held_out=nothing, labelled=np.arange(len(episodes)), free=nothing)
    store = load_store(read_headers([path], []), split, rewards_on_action_free=False)
    return store.observation_specs(store.labelled)["state"]


def test_the_size_of_a_reward_is_of_known_ones_that_are_not_zero(store):
    labelled = np.array([*range(1, 7), *range(1000, 1008)])  # of 0 and 4, less a 0
    assert store.reward_size(range(1, 5)) == pytest.approx(np.sqrt((labelled**2).mean()))
    held_out = np.arange(2000, 2006)
    assert store.reward_size(store.held_out) == pytest.approx(np.sqrt((held_out**2).mean()))
    assert np.isnan(store.reward_size(store.free)), "hidden"


def test_deviation_and_change_have_a_floor(tmp_path):
    spec = state_spec(tmp_path / "still.h5", np.full((3, 2), 1e4))
    assert spec.std == (1e-3, 1e-3)
    assert spec.change == (1e-5, 1e-5)


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 100])
def test_the_usual_change_is_taken_within_episodes(block, tmp_path, monkeypatch):
    monkeypatch.setattr("lawm.data_modules.episode_store.STATISTICS_BLOCK", block)
    first = np.cumsum(np.array([[0.0, 0], [1, 2], [-1, 2], [1, -2]]), axis=0)
    second = 50.0 + np.cumsum(np.array([[0, 0], [-1, 4], [1, 4]]), axis=0)
    spec = state_spec(tmp_path / "a.h5", first, second)
    np.testing.assert_allclose(spec.change, [1.0, np.sqrt((3 * 4 + 2 * 16) / 5)], rtol=1e-12)


def test_episode_batch_pads_at_the_end(store):
    batch = store.episode_batch(range(1, 5))  # episodes of 7, 8, 4 and 5 transitions
    assert batch.length.tolist() == [7, 8, 4, 5]
    assert batch.obs["state"].shape == (4, 9, 3)
    assert batch.obs["state"][0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert batch.num_labelled == 2
    assert batch.action.shape == (2, 8, 2)
    torch.testing.assert_close(batch.action[0, :7, 0], torch.arange(7) * ACTION_SCALE)
    assert batch.action[0, 7].tolist() == [0, 0]
    assert batch.reward[1].tolist() == [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007]
    assert batch.reward[0, 7] == 0
    assert batch.reward[2:].abs().sum() == 0
    assert batch.has_reward.tolist() == [True, True, False, False]


def test_episode_batch_of_nothing(store):
    batch = store.episode_batch(range(0))
    assert batch.obs["state"].shape == (0, 1, 3)
    assert (batch.action.shape, batch.reward.shape) == ((0, 0, 2), (0, 0))


def test_tiles_lie_end_to_end_within_the_episodes(store):
    assert store.tile(range(1, 4), window=3).tolist() == [7, 10, 15, 18, 24]
    assert store.tile(range(1, 4), window=8).tolist() == [15]
    assert store.tile(range(0), window=3).tolist() == []


def test_observations_that_disagree(tmp_path):
    first = write_shard(tmp_path / "a.h5", lengths=[4])
    other = write_shard(tmp_path / "other.h5", lengths=[5], obs_dim=4)
    nothing = np.array([], np.int64)
    split = EpisodeSplit(held_out=nothing, labelled=np.array([0, 1]), free=nothing)
    with pytest.raises(
        LawmError, match=r"other\.h5 has observations .*\(4,\) float32.*, but .*a\.h5 .*\(3,\)"
    ):
        load_store(read_headers([first, other], []), split, rewards_on_action_free=False)


def test_rewritten_while_reading(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[4])
    headers = read_headers([path], [])
    write_shard(path, lengths=[5])
    nothing = np.array([], np.int64)
    split = EpisodeSplit(held_out=nothing, labelled=np.array([0]), free=nothing)
    with pytest.raises(LawmError, match=r"a\.h5 was rewritten while it was read"):
        load_store(headers, split, rewards_on_action_free=False)
