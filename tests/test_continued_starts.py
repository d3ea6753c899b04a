"""Imagined trajectories that go on: which rows, how long, and after a stop."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from model_factory import OBS_DIM, SMALL, make_model, make_spec
from quiet_trainer import quiet_trainer
from shard_factory import write_shard

from lawm.continued_starts import ContinuedStarts
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.start_states import StartStateDataModule
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig

ROWS, HORIZON = 512, 10


def data_starts(num=ROWS):
    """Every state of the data has age 0."""
    return ModelState(torch.zeros(num, 2), torch.zeros(num, 1))


def a_horizon_later(start):
    return ModelState(start.h + HORIZON, start.z + HORIZON)


def ages(continued, updates, alive=1.0):
    """Of the starts of the last update, in imagined steps."""
    torch.manual_seed(0)
    for _ in range(updates):
        start = continued.join(data_starts())
        continued.keep(a_horizon_later(start), torch.full((ROWS,), alive))
    return start.h[:, 0]


def test_a_share_goes_on_where_it_ended_and_the_rest_begins_in_the_data():
    age = ages(ContinuedStarts(0.25, 10**9, HORIZON), updates=4)
    assert age[: ROWS * 3 // 4].eq(0).all()
    assert age[ROWS * 3 // 4 :].eq(3 * HORIZON).all()


@pytest.mark.parametrize("steps", [40, 100])
def test_trajectories_last_as_long_as_asked_for_on_average(steps):
    """Lengths are geometric, so the age of one that is met is one horizon less on average."""
    age = ages(ContinuedStarts(1.0, steps, HORIZON), updates=200)
    assert age.mean().item() == pytest.approx(steps - HORIZON, rel=0.15)
    assert age.max() > 2 * steps


@pytest.mark.parametrize(
    "continued, alive",
    [
        (ContinuedStarts(0.0, 100, HORIZON), 1.0),
        (ContinuedStarts(0.5, HORIZON, HORIZON), 1.0),
        (ContinuedStarts(0.5, 1, HORIZON), 1.0),
        (ContinuedStarts(0.5, 100, HORIZON), 0.0),
    ],
    ids=["no share", "one horizon long", "shorter than a horizon", "ended"],
)
def test_all_begin_in_the_data_where_none_may_go_on(continued, alive):
    assert ages(continued, updates=5, alive=alive).eq(0).all()


def test_a_smaller_batch_takes_fewer():
    continued = ContinuedStarts(0.5, 10**9, HORIZON)
    continued.keep(a_horizon_later(data_starts(8)), torch.ones(8))
    assert continued.join(data_starts(4)).h[:, 0].tolist() == [0, 0, HORIZON, HORIZON]
    assert continued.join(data_starts(1)).h[:, 0].tolist() == [0]


def test_a_checkpoint_holds_no_more_than_the_starts():
    continued, all_states = ContinuedStarts(0.5, 30, HORIZON), torch.randn(50, 8, 16)
    continued.keep(ModelState(all_states[-1, :, :12], all_states[-1, :, 12:]), torch.ones(8))
    for value in continued.state_dict().values():
        assert value.untyped_storage().nbytes() == value.numel() * 4


def test_it_goes_on_from_its_state():
    one, other = (ContinuedStarts(0.5, 30, HORIZON) for _ in range(2))
    other.load_state_dict(one.state_dict())  # before the first update: empty
    assert other.join(data_starts(4)).h.eq(0).all()
    ages(one, updates=3)
    other.load_state_dict(one.state_dict())
    torch.manual_seed(1)
    expected = one.join(data_starts())
    torch.manual_seed(1)
    assert other.join(data_starts()).h.equal(expected.h)


class _Seen(pl.Callback):
    """The starts that updates were made from, and where their rollouts ended."""

    def __init__(self):
        self.starts, self.ends = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.starts.append(batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ends.append(pl_module.continued.state_dict())


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # the frozen world model
def test_updates_are_made_from_where_the_last_ended(tmp_path):
    shard = write_shard(tmp_path / "a.h5", lengths=[14] * 8, obs_dim=OBS_DIM, counter=False)
    data = MixedTrajectoryDataModule([str(shard)], labels="3", window=4, batch_size=4)
    data.setup()
    world_model = WorldModel(data.spec, WorldModelConfig(**SMALL))
    module = LatentPolicyModule(
        world_model, data.spec, hidden=16, horizon=3, continued_share=0.5, continued_steps=10**9
    )
    seen, starts = _Seen(), StartStateDataModule(world_model, data, batch_size=6)
    quiet_trainer(3, callbacks=[seen]).fit(module, starts)
    for start, end in zip(seen.starts[1:], seen.ends[:-1], strict=True):
        assert start.h[3:].equal(end["h"])
        assert start.z[3:].equal(end["z"])
    places = starts.describe(seen.starts[-1])
    assert all("episode" in place for place in places[:3])
    assert all("was to go on" in place for place in places[3:])


def test_what_goes_on_carries_no_gradient():
    module = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=3)
    rssm = module.world_model.rssm
    start = ModelState(torch.randn(4, rssm.deter), torch.randn(4, rssm.latent.size))
    module.compute_loss(start)
    kept = module.continued.state_dict()
    assert kept.keys() == {"h", "z", "alive"}
    assert not any(value.requires_grad for value in kept.values())
