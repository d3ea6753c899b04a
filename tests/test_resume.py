"""A run that is stopped and resumed equals one that was not, to the last bit, in both stages."""

from __future__ import annotations

from contextlib import nullcontext

import lightning.pytorch as pl
import pytest
import torch
from model_factory import OBS_DIM, SMALL, VARIANTS
from shard_factory import write_shard

from lawm.callbacks.random_stream import RandomStream
from lawm.callbacks.stage_checkpoint import StageCheckpoint
from lawm.checkpoint_io import VerifiedCheckpointIO
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.policy_module import LatentPolicyModule
from lawm.start_states import StartStateDataModule
from lawm.stop_signals import StopSignals
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import RateConfig, WorldModelModule

STOP, END = 5, 9


class StoppedError(Exception):
    pass


class StopAfter(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            raise StoppedError


@pytest.fixture
def shard(tmp_path):
    return write_shard(
        tmp_path / "a.h5", lengths=[14] * 8, obs_dim=OBS_DIM, counter=False, image=True
    )


IMAGES = {  # shifted at random; the standardisation of redundancy reduction has a memory
    "images": {"image_depth": 2, "observation_loss": "redundancy_reduction"},
}


def make_data(shard, variant):
    """Batches of five windows, of which one or two are labelled: the ratio is met over time."""
    return MixedTrajectoryDataModule(
        [str(shard)],
        labels="3",
        held_out="2",
        window=4,
        batch_size=5,
        labelled_ratio=0.3,
        observation_keys=["camera" if variant in IMAGES else "state"],
    )


def world_model_stage(shard, variant):
    data = make_data(shard, variant)
    data.setup()
    config = WorldModelConfig(
        **(SMALL | (VARIANTS | IMAGES)[variant]), action_dropout=0.2, reward_dropout=0.2
    )
    return WorldModelModule(data.spec, config, rate=RateConfig("target"), warmup_steps=8), data


def policy_stage(shard, variant):
    data = make_data(shard, variant)
    data.setup()
    torch.manual_seed(0)
    world_model = WorldModel(data.spec, WorldModelConfig(**(SMALL | (VARIANTS | IMAGES)[variant])))
    torch.nn.init.normal_(world_model.reward_head.output.weight)  # untrained it is zero
    module = LatentPolicyModule(world_model, data.spec, hidden=16, horizon=3)
    return module, StartStateDataModule(world_model, data, batch_size=6, seed=0)


def train(
    make_stage, shard, variant, folder, seed, stop_after=None, ckpt_path=None, precision="32-true"
):
    """A program of its own, as far as one process can be: everything anew, another seed."""
    torch.manual_seed(seed)
    module, data = make_stage(shard, variant)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=-1,
        max_steps=END,
        val_check_interval=3,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[VerifiedCheckpointIO()],
        callbacks=[
            RandomStream(0),
            StageCheckpoint(
                folder / "last.ckpt", folder / "previous.ckpt", STOP, {}, "identity", StopSignals()
            ),
            StopAfter(stop_after),
        ],
    )
    torch.manual_seed(seed)
    with pytest.raises(StoppedError) if stop_after else nullcontext():
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return torch.load(folder / "last.ckpt", weights_only=True)


def tensors(state, prefix=""):
    """Every tensor in nested dicts and lists, by its place."""
    if isinstance(state, torch.Tensor):
        return {prefix: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    found = {}
    for key, value in items:
        if isinstance(value, dict | list | tuple | torch.Tensor):
            found |= tensors(value, f"{prefix}/{key}")
    return found


@pytest.mark.filterwarnings(
    "ignore:Found .* in eval mode"  # the frozen world model of stage 2 is meant to be
)
@pytest.mark.parametrize(
    ("make_stage", "variant", "precision"),
    [
        (world_model_stage, "action", "32-true"),
        (world_model_stage, "action", "bf16-mixed"),
        (world_model_stage, "latent_categorical", "32-true"),
        (world_model_stage, "images", "32-true"),
        (world_model_stage, "images", "bf16-mixed"),
        (policy_stage, "action", "32-true"),
        (policy_stage, "action", "bf16-mixed"),
        (policy_stage, "latent_categorical", "32-true"),
    ],
)
def test_a_stop_and_a_resume_change_nothing(make_stage, variant, precision, shard, tmp_path):
    def run(folder, **options):
        folder = tmp_path / folder
        return train(make_stage, shard, variant, folder, precision=precision, **options)

    whole = run("whole", seed=1)
    stopped = run("parts", seed=1, stop_after=STOP)
    parts = run("parts", seed=2, ckpt_path=tmp_path / "parts" / "last.ckpt")
    assert [stopped["global_step"], parts["global_step"]] == [STOP, END]

    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        expected, found = tensors(whole[part]), tensors(parts[part])
        assert expected.keys() == found.keys()
        different = [place for place in expected if not found[place].equal(expected[place])]
        assert different == []
    assert not all(
        value.equal(tensors(stopped["state_dict"])[place])
        for place, value in tensors(whole["state_dict"]).items()
    )
