from __future__ import annotations

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counted_episodes import draw, episodes_in, make_data, training_episodes
from shard_factory import write_shard

from lawm.data_modules import MixedTrajectoryDataModule
from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.shard_writer import ShardWriter


def tensors(batch):
    return [*batch.obs.values(), batch.action, batch.reward, batch.has_reward]


def are_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def test_windows_never_cross_an_end(counters):
    data = make_data(counters)
    for batch in draw(data, 200):
        state = batch.obs["state"]
        assert torch.equal(state.diff(dim=1), torch.ones(8, 4, 3))
        labels = state[: batch.num_labelled, :-1, :2] * 1e-5
        torch.testing.assert_close(batch.action, labels)
        assert torch.equal(batch.reward, state[: batch.num_labelled, :-1, 0])
        assert batch.has_reward.all()


def test_every_window_of_a_half_is_reached_and_no_other(counters):
    data = make_data(counters)
    halves = training_episodes(data)
    assert [len(half) for half in halves] == [5, 13]
    seen = (set(), set())
    for batch in draw(data, 1000):
        first = batch.obs["state"][:, 0, 0].int().tolist()
        seen[0].update(first[: batch.num_labelled])
        seen[1].update(first[batch.num_labelled :])
        assert batch.has_reward.tolist() == [True] * 4
    for half, firsts in zip(halves, seen, strict=True):
        expected = {1000 * e + start for e in half for start in range(6 + e % 5 - 4 + 1)}
        assert firsts == expected


def test_labelled_share_is_exact_on_each_rank_and_the_same_in_each_step(counters):
    data = make_data(counters, labelled_ratio=0.3, batch_size=7)
    per_rank = [draw(data, 50, rank, 3) for rank in range(3)]
    counts = np.array([[batch.num_labelled for batch in batches] for batches in per_rank])
    assert np.abs(counts.cumsum(axis=1) - 0.3 * 7 * np.arange(1, 51)).max() <= 1
    assert (counts == counts[0]).all()
    assert {batch.num_rows for batch in per_rank[0]} == {7}


def test_ranks_share_out_one_stream(counters):
    data = make_data(counters, batch_size=32)
    alone = draw(data, 12)
    for world_size in (2, 3, 4):
        ranks = [draw(data, 12 // world_size, rank, world_size) for rank in range(world_size)]
        together = [batch for step in zip(*ranks, strict=True) for batch in step]
        assert all(are_equal(*pair) for pair in zip(alone, together, strict=True))
    assert not any(are_equal(*pair) for pair in itertools.combinations(alone, 2))


def test_state_goes_on_with_another_number_of_ranks(counters):
    data = make_data(counters)
    alone = draw(data, 12)
    data.trainer = SimpleNamespace(global_rank=0, world_size=3)
    first = data.train_dataloader()
    list(itertools.islice(first, 2))
    state = first.state_dict()  # six batches, two from each of three ranks
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)
    second = data.train_dataloader()
    second.load_state_dict(state)
    rest = list(itertools.islice(second, 3))
    assert all(are_equal(*pair) for pair in zip(rest, alone[7::2], strict=True))


def test_a_second_pass_goes_on(counters):
    data = make_data(counters)
    alone = draw(data, 6)
    loader = data.train_dataloader()
    passes = [batch for _ in range(2) for batch in itertools.islice(loader, 3)]
    assert all(are_equal(*pair) for pair in zip(passes, alone, strict=True))


def test_seed_changes_the_batches_only(counters):
    data, other = make_data(counters), make_data(counters, seed=1)
    assert not are_equal(draw(data, 1)[0], draw(other, 1)[0])
    assert training_episodes(data) == training_episodes(other)
    assert data.fingerprint() == other.fingerprint()


def rewrite(source, target, episodes, seed):
    """A copy of a shard with other actions and rewards in the given episodes."""
    shard, rng = read_shard(source), np.random.default_rng(seed)
    with ShardWriter(
        target, action_low=shard.meta.action_low, action_high=shard.meta.action_high
    ) as writer:
        for number, source_id in enumerate(shard.episodes.source_id):
            rows = slice(*shard.episodes.offset[number : number + 2])
            action, reward = shard.action[rows][:-1], shard.reward[rows][:-1]
            if number in episodes:
                action = rng.uniform(-1, 1, action.shape)
                reward = rng.normal(size=reward.shape)
            obs = {key: values[rows] for key, values in shard.obs.items()}
            writer.add_episode(
                obs, action, reward, terminated=False, truncated=True, source_id=source_id
            )


def test_hidden_labels_change_no_bit(counters, tmp_path):
    data = make_data(counters)
    labelled, free = training_episodes(data)
    rewrite(counters, tmp_path / "garbage.h5", free, seed=0)
    rewrite(counters, tmp_path / "control.h5", labelled[:1], seed=0)
    garbage, control = make_data(tmp_path / "garbage.h5"), make_data(tmp_path / "control.h5")
    batches = draw(data, 50)
    assert all(are_equal(*pair) for pair in zip(batches, draw(garbage, 50), strict=True))
    assert not all(are_equal(*pair) for pair in zip(batches, draw(control, 50), strict=True))
    for one, other in zip(data.episodes(), garbage.episodes(), strict=True):
        assert are_equal(one, other)
    assert are_equal(data.held_out_episodes(), garbage.held_out_episodes())
    assert data.spec.observations == garbage.spec.observations


def test_held_out_episodes_are_in_no_half(counters):
    data = make_data(counters, held_out="4")
    held_out = data.held_out_episodes()
    numbers = episodes_in(held_out)
    labelled, free = training_episodes(data)
    assert sorted(numbers + labelled + free) == list(range(20))
    assert held_out.num_labelled == len(numbers) == 4
    steps = torch.arange(held_out.reward.shape[1])
    expected = (torch.tensor(numbers)[:, None] * 1000.0 + steps) * (
        steps < held_out.length[:, None]
    )
    assert torch.equal(held_out.reward, expected)


def test_validation_windows_are_labelled_and_fixed(counters):
    data = make_data(counters, held_out="4", batch_size=3)
    loader = data.val_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(are_equal(*pair) for pair in zip(batches, loader, strict=True))
    starts = torch.cat([batch.obs["state"][:, 0, 0] for batch in batches]).tolist()
    held_out = episodes_in(data.held_out_episodes())
    lengths = {episode: 6 + episode % 5 for episode in held_out}
    expected = [1000 * e + i for e in held_out for i in range(0, lengths[e] - 3, 4)]
    assert sorted(starts) == sorted(expected)
    assert all(batch.num_labelled == batch.num_rows for batch in batches)
    assert all(batch.has_reward.all() for batch in batches)


def test_every_validation_batch_is_of_early_and_late_windows(tmp_path):
    """What is measured on the first batch alone is then of all held-out episodes."""
    path = write_shard(tmp_path / "long.h5", lengths=[80] * 4)
    data = make_data(path, labels="all", held_out="3", batch_size=12)
    batches = [batch.obs["state"][:, 0, 0] for batch in data.val_dataloader()]
    assert len(batches) == 5
    for starts in batches:
        assert len(set((starts // 1000).tolist())) == 3
        assert (starts % 1000).min() < 20
        assert (starts % 1000).max() >= 60


def test_validation_is_a_handful_of_batches(tmp_path):
    path = write_shard(tmp_path / "long.h5", lengths=[900] * 3)
    data = make_data(path, labels="all", held_out="1", batch_size=2)
    starts = [batch.obs["state"][:, 0, 0] % 1000 for batch in data.val_dataloader()]
    assert len(starts) == 8
    assert (torch.cat(starts).min(), torch.cat(starts).max()) == (0, 896)


def test_nothing_held_out(counters):
    data = make_data(counters, held_out="none")
    assert data.val_dataloader() == []
    assert data.held_out_episodes().length.numel() == 0


def test_episodes_come_in_chunks(counters):
    whole = list(make_data(counters).episodes())
    chunks = list(make_data(counters).episodes(chunk=4))
    assert [len(batch.length) for batch in chunks] == [4, 4, 4, 4, 2]
    assert [batch.num_labelled for batch in chunks] == [4, 1, 0, 0, 0]
    lengths = torch.cat([batch.length for batch in chunks])
    assert torch.equal(lengths, whole[0].length)
    assert torch.equal(lengths, torch.tensor([6 + e % 5 for b in chunks for e in episodes_in(b)]))


def test_action_free_shards_never_give_labels(tmp_path):
    labelled = write_shard(tmp_path / "a.h5", lengths=[6] * 4)
    free = write_shard(tmp_path / "b.h5", lengths=[9] * 3)
    data = MixedTrajectoryDataModule(
        str(labelled), str(free), held_out="1", window=4, rewards_on_action_free=True
    )
    assert data.summary()["labelled episodes"] == 3
    assert data.summary()["action-free transitions"] == 27
    assert data.store.rows.tensors["action"].shape == (4 * 7, 2)
    batch = draw(data, 1)[0]
    assert batch.has_reward.tolist() == [True] * batch.num_rows


def test_labelled_only(counters):
    data = make_data(counters, labelled_ratio=1.0)
    assert all(batch.num_labelled == batch.num_rows == 8 for batch in draw(data, 3))
    assert training_episodes(data)[1] == []


def test_all_labels_without_action_free_episodes(counters, caplog):
    data = make_data(counters, labels="all")
    with caplog.at_level("INFO"):
        data.setup("fit")
    assert "no action-free episodes: every window is labelled" in caplog.text
    assert all(batch.num_labelled == batch.num_rows == 8 for batch in draw(data, 3))
    assert training_episodes(data)[1] == []


def test_setup_reads_once(counters):
    data = make_data(counters)
    data.setup("fit")
    counters.unlink()
    data.setup("validate")
    assert data.summary()["held-out episodes"] == 2


def test_short_episodes_are_counted(tmp_path):
    path = write_shard(tmp_path / "a.h5", lengths=[3, 9, 9, 2, 9, 9])
    data = make_data(path, labels="all", held_out="none")
    with pytest.warns(UserWarning, match=r"2 of 6 episodes are shorter than data\.window = 4"):
        data.setup()
    assert {e for batch in draw(data, 50) for e in episodes_in(batch)} == {1, 2, 4, 5}


def test_batches_that_mostly_have_no_labelled_window_are_told(tmp_path):
    shard = str(write_shard(tmp_path / "a.h5", lengths=[20] * 10))
    settings = {"labels": "3 episodes", "held_out": "none", "window": 8, "labelled_ratio": 0.1}
    with pytest.warns(UserWarning, match=r"leave 60% of .* Batches of 10 or more have one each"):
        MixedTrajectoryDataModule([shard], batch_size=4, **settings).setup()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MixedTrajectoryDataModule([shard], batch_size=10, **settings).setup()


def test_labelled_only_uses_the_action_free_episodes_for_nothing(tmp_path):
    shard = write_shard(tmp_path / "a.h5", lengths=[20] * 10)
    settings = {"labels": "3 episodes", "held_out": "none", "window": 8, "batch_size": 4}
    mixed = MixedTrajectoryDataModule([str(shard)], **settings)
    alone = MixedTrajectoryDataModule([str(shard)], labelled_ratio=1.0, **settings)
    assert sum(len(chunk.length) for chunk in mixed.episodes()) == 10
    assert sum(len(chunk.length) for chunk in alone.episodes()) == 3
    labelled = torch.cat([chunk.obs["state"].flatten() for chunk in alone.episodes()])
    assert alone.spec.observations["state"].mean[0] == pytest.approx(labelled.mean().item())
    assert alone.spec.observations != mixed.spec.observations
    assert alone.spec.return_mean == mixed.spec.return_mean  # the same yardstick for both
