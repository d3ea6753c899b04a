from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from model_factory import OBS_DIM, SMALL, VARIANTS
from shard_factory import write_shard

from lawm import start_states
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.errors import LawmError
from lawm.latents import GaussianLatent
from lawm.rssm import ModelState
from lawm.start_states import StartStateDataModule, StartStateLoader, posterior_states, share_of
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig

LENGTHS = (5, 9, 7, 4, 8, 6, 3)


@pytest.fixture
def data(tmp_path):
    """Two labelled, four action-free and one held-out episode."""
    path = write_shard(tmp_path / "a.h5", lengths=LENGTHS, obs_dim=OBS_DIM, counter=False)
    data = MixedTrajectoryDataModule([str(path)], labels="2", held_out="1", window=3)
    data.setup()
    return data


@pytest.fixture
def noiseless(monkeypatch):
    """Every sample is a mode."""
    monkeypatch.setattr(
        GaussianLatent, "noise", lambda self, like, *shape: like.new_zeros(*shape, self.size)
    )


def make_model(data, variant="action"):
    torch.manual_seed(0)
    return WorldModel(data.spec, WorldModelConfig(**(SMALL | VARIANTS[variant]))).eval()


@torch.no_grad()
def filter_episode(model, obs, action):
    """Step by step: obs (T + 1, D), action (T, A) or None where it is hidden."""
    rssm, latent_action = model.rssm.bind(), model.latent_action
    embed = model.encoder({"state": obs})[:, None]
    transitions = model.transitions({"state": obs[:, None]}, {}, dim=0)
    h = model.rssm.initial_h(1, embed)
    states = []
    for t, e in enumerate(embed):
        state = model.filter_step(h, e)
        states.append(state)
        if t == len(obs) - 1:
            break
        s = state.features
        if action is None:
            projected = latent_action.project_transition(transitions[t], with_labels=False)
            params = latent_action.inverse_posterior(s, projected)
            u = latent_action.latent.mode(params)
            decoded = latent_action.decode(s, u)
        else:
            decoded = action[t : t + 1]
            params = latent_action.action_posterior(s, latent_action.project_action(decoded))
            u = latent_action.latent.mode(params)
        h = rssm.recur(state.h, state.z, model.transition_input.act(u, decoded))
    return states


@pytest.mark.parametrize("variant", ["action", "latent"])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_padded_chunks_equal_a_filter_that_goes_episode_by_episode(variant, chunk, data, noiseless):
    model = make_model(data, variant)
    states = posterior_states(model, data.episodes(chunk))
    expected = {}
    for number, episode in enumerate(data.episodes(chunk=1)):
        action = episode.action[0] if episode.num_labelled else None
        for t, state in enumerate(filter_episode(model, episode.obs["state"][0], action)):
            expected[number // chunk, t, number] = state  # a chunk is read time first
    in_order = [expected[place] for place in sorted(expected)]
    h, z = torch.cat([s.h for s in in_order]), torch.cat([s.z for s in in_order])
    torch.testing.assert_close(states.h, h, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states.z, z, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_one_state_for_each_observation_of_the_training_episodes(chunk, data):
    states = posterior_states(make_model(data), data.episodes(chunk))
    held_out = int(data.held_out_episodes().length.sum()) + 1
    num = sum(length + 1 for length in LENGTHS) - held_out
    assert states.h.shape == (num, SMALL["deter"])
    assert states.z.shape == (num, SMALL["stoch"])
    assert not states.h.requires_grad


@pytest.mark.parametrize("chunk", [1, 64])
def test_no_rollout_begins_where_a_task_has_ended(chunk, data, tmp_path, noiseless):
    ended = (1, 4)
    path = write_shard(
        tmp_path / "b.h5", lengths=LENGTHS, obs_dim=OBS_DIM, counter=False, terminated=ended
    )
    same = MixedTrajectoryDataModule([str(path)], labels="2", held_out="1", window=3)
    same.setup()
    model = make_model(data)
    states = posterior_states(model, same.episodes(chunk))
    expected, all_states = [], posterior_states(model, data.episodes(chunk))
    row = 0
    for episodes in same.episodes(chunk):
        for step in range(episodes.obs["state"].shape[1]):
            for length, has_ended in zip(episodes.length, episodes.terminated, strict=True):
                if step <= length:
                    if not (has_ended and step == length):
                        expected.append(row)
                    row += 1
    held_out = same.held_out_episodes().terminated.sum()
    assert row - len(expected) == len(ended) - held_out
    torch.testing.assert_close(states.h, all_states.h[expected])
    places = list(start_states._steps_in_order(same.episodes(chunk)))
    assert len(places) == len(states.h)


def test_padding_is_not_read(data, noiseless):
    model = make_model(data)
    (chunk,) = data.episodes()
    padding = torch.arange(max(LENGTHS) + 1)[None] > chunk.length[:, None]
    assert padding.any()
    obs = chunk.obs["state"].clone()
    obs[padding] = 1e3
    action = chunk.action.clone()
    action[padding[: chunk.num_labelled, 1:]] = 0.9
    spoilt = dataclasses.replace(chunk, obs={"state": obs}, action=action)
    before, after = posterior_states(model, [chunk]), posterior_states(model, [spoilt])
    torch.testing.assert_close(after.h, before.h)
    torch.testing.assert_close(after.z, before.z)


@pytest.mark.parametrize("chunk", [2, 4, 64])
@pytest.mark.parametrize("world", [2, 3])
def test_the_processes_share_out_the_states_of_all_episodes(world, chunk, data, noiseless):
    model = make_model(data)
    whole = posterior_states(model, data.episodes(chunk))
    shares = [
        posterior_states(model, share_of(data.episodes(chunk), rank, world))
        for rank in range(world)
    ]
    together = torch.cat([share.features for share in shares])
    distance = torch.cdist(
        whole.features, together, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(dim=1)
    assert distance.values.max() < 1e-4
    assert sorted(distance.indices.tolist()) == list(range(len(whole.h)))
    lengths = [[c.length for c in share_of(data.episodes(chunk), r, world)] for r in range(world)]
    episodes = [sum(map(len, of_rank)) for of_rank in lengths]
    assert max(episodes) - min(episodes) <= 1


def test_more_processes_than_episodes_are_refused(data):
    with pytest.raises(LawmError, match="more processes than there are training episodes"):
        posterior_states(make_model(data), share_of(data.episodes(), 6, 7))


@pytest.mark.parametrize(("max_states", "every"), [(10_000, 1), (40, None), (1, None)])
def test_of_data_beyond_the_limit_every_nth_episode_is_taken(max_states, every, data, noiseless):
    model = make_model(data)
    lengths = [int(n) for chunk in data.episodes() for n in chunk.length]
    starts = StartStateDataModule(model, data, batch_size=4, max_states=max_states)
    starts.setup()
    every = every or min(math.ceil((sum(lengths) + len(lengths)) / max_states), len(lengths))
    taken = [(number, lengths[number]) for number in range(0, len(lengths), every)]
    assert sorted(starts.describe(starts.states)) == sorted(
        data.describe_start(number, step) for number, length in taken for step in range(length + 1)
    )
    whole = posterior_states(model, data.episodes()).features
    distance = torch.cdist(
        starts.states.features, whole, compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert distance.min(dim=1).values.max() < 1e-4


@pytest.mark.parametrize("variant", ["action", "latent"])
def test_transitions_are_those_of_all_episodes_whatever_the_process(variant, data, noiseless):
    """Each state with the one that follows, and the action that led there."""
    model = make_model(data, variant)
    starts = StartStateDataModule(model, data, batch_size=4)
    starts._first_and_stride = lambda: (1, 3)  # of another process
    found = starts.transitions()
    (chunk,) = data.episodes()
    assert len(found.action) == int(chunk.length.sum())
    for row, length in enumerate(chunk.length.tolist()):
        known = row < chunk.num_labelled
        action = chunk.action[row, :length] if known else None
        obs = chunk.obs["state"][row, : length + 1]
        states = torch.cat([state.features for state in filter_episode(model, obs, action)])
        for t in range(length):
            distance = (found.features - states[t]).abs().amax(dim=1)
            place = int(distance.argmin())
            assert distance[place] < 1e-4
            assert (found.following[place] - states[t + 1]).abs().max() < 1e-4
            if known:
                torch.testing.assert_close(found.action[place], action[t])


def test_of_very_many_transitions_every_nth_episode_is_taken(data, monkeypatch):
    monkeypatch.setattr(start_states, "MAX_TRANSITIONS", 20)
    found = StartStateDataModule(make_model(data), data).transitions()
    lengths = [int(n) for chunk in data.episodes() for n in chunk.length]
    every = math.ceil((sum(lengths) + len(lengths)) / 20)
    assert len(found.action) == sum(lengths[::every])


def test_where_no_action_is_inferred_the_limit_counts_episodes_with_actions(data, monkeypatch):
    monkeypatch.setattr(start_states, "MAX_TRANSITIONS", 20)
    starts = StartStateDataModule(make_model(data, "masked_action"), data)
    (chunk,) = data.episodes(with_actions=True)
    assert chunk.num_labelled == len(chunk.length) == 2
    assert data.num_training_states(with_actions=True) <= 20 < data.num_training_states()
    (behaviour,) = starts.behaviour()
    assert sorted(behaviour.length.tolist()) == sorted(chunk.length.tolist())
    data.label_with(SimpleNamespace(label_episodes=lambda episodes: episodes))
    assert len(list(data.episodes(chunk=1, with_actions=True))) == 6, "a labeller tells them all"


def test_a_limit_below_one_state_is_refused(data):
    with pytest.raises(LawmError, match=r"start_states.max_states is 0; expected"):
        StartStateDataModule(make_model(data), data, max_states=0)


def numbered(num=50):
    """States whose h is their number."""
    number = torch.arange(float(num))[:, None]
    return ModelState(number, -number)


def take(loader, num):
    return [state.h[:, 0].tolist() for state, _ in zip(loader, range(num), strict=False)]


def make_loader(rank=0, world=1, seed=0, length=1000):
    return StartStateLoader(numbered(), 8, seed, rank, world, length)


def test_batches_are_states_of_the_data_and_differ():
    loader = make_loader()
    first = next(iter(loader))
    assert first.h.shape == first.z.shape == (8, 1)
    assert first.z.equal(-first.h)
    batches = take(make_loader(), 60)
    assert len({tuple(batch) for batch in batches}) == 60
    assert {number for batch in batches for number in batch} == set(range(50))


def test_an_epoch_has_a_length():
    assert len(make_loader(length=3)) == len(take(make_loader(length=3), 9)) == 3


def test_the_stream_goes_on_where_it_stopped():
    whole = take(make_loader(), 7)
    stopped = make_loader()
    iterator = iter(stopped)
    before = [next(iterator).h[:, 0].tolist() for _ in range(3)]
    resumed = make_loader()
    resumed.load_state_dict(stopped.state_dict())
    assert before + take(resumed, 4) == whole


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_one_stream_whatever_their_number(world):
    alone = take(make_loader(), 12)
    of_rank = [take(make_loader(rank, world), 12 // world) for rank in range(world)]
    together = [of_rank[i % world][i // world] for i in range(12)]
    assert together == alone
    assert len({tuple(batch) for batch in alone}) == 12  # so no two ranks have the same batch


def test_a_stream_may_go_on_with_another_number_of_processes():
    alone = take(make_loader(), 8)
    pair = [make_loader(rank, 2) for rank in range(2)]
    for loader in pair:
        iterator = iter(loader)
        next(iterator), next(iterator)
    assert pair[0].state_dict() == pair[1].state_dict()
    single = make_loader()
    single.load_state_dict(pair[0].state_dict())
    assert take(single, 4) == alone[4:]


def test_the_seed_decides_the_order():
    assert take(make_loader(seed=1), 3) != take(make_loader(), 3)


def test_the_data_module_computes_once_and_leaves_the_random_stream_alone(data, monkeypatch):
    model = make_model(data)
    starts = StartStateDataModule(model, data, batch_size=4, seed=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    starts.setup("fit")
    assert torch.get_rng_state().equal(before)
    states = starts.states
    starts.setup("fit")
    assert starts.states is states
    torch.manual_seed(99)
    again = StartStateDataModule(model, data, batch_size=4, seed=3)
    again.setup()
    assert again.states.z.equal(states.z)
    batch = next(iter(starts.train_dataloader()))
    assert batch.h.shape == (4, SMALL["deter"])
    assert (batch.h[:, None] == states.h[None]).all(dim=-1).any(dim=1).all()
