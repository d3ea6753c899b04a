"""Stage 1 without sampling noise; as a program, on two processes."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from model_factory import SMALL

from lawm.batch import Batch
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.latents import GaussianLatent
from lawm.world_model import WorldModelConfig
from lawm.world_model_module import RateConfig, WorldModelModule

STEPS = 4


class PlainDescent(WorldModelModule):
    """Adam would blow up the rounding errors of gradients that are zero but for them."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02)


def make_data(shard):
    return MixedTrajectoryDataModule(
        [str(shard)], labels="3", held_out="none", window=4, batch_size=4, labelled_ratio=0.5
    )


def make_module(data, transition_input):
    data.setup()
    torch.manual_seed(0)
    config = WorldModelConfig(transition_input, **SMALL, action_dropout=0.0)  # masks would differ
    return PlainDescent(data.spec, config, rate=RateConfig("target", target=3.0))


def make_trainer(**changes):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=STEPS,
        limit_val_batches=0,
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **changes,
    )


def without_noise(self, like, *shape):
    return like.new_zeros(*shape, self.size)


def joined(one: Batch, other: Batch) -> Batch:
    """Both batches as one, the labelled rows first."""
    labelled = one.num_labelled

    def join(x, y):
        return torch.cat([x[:labelled], y[: other.num_labelled], x[labelled:], y[labelled:]])

    assert other.num_labelled == labelled
    return Batch(
        obs={key: join(one.obs[key], other.obs[key]) for key in one.obs},
        action=torch.cat([one.action, other.action]),
        reward=join(one.reward, other.reward),
        terminated=join(one.terminated, other.terminated),
        has_reward=join(one.has_reward, other.has_reward),
    )


def main(shard: str, transition_input: str, folder: str) -> None:
    """Train on two processes; each writes its weights."""
    GaussianLatent.noise = without_noise
    data = make_data(shard)
    module = make_module(data, transition_input)
    trainer = make_trainer(devices=2, strategy="ddp")
    trainer.fit(module, data)
    torch.save(module.state_dict(), Path(folder, f"rank{trainer.global_rank}.pt"))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
