"""Both stages without sampling noise; as a program, on two processes."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from model_factory import SMALL
from quiet_trainer import quiet_trainer

from lawm.batch import Batch
from lawm.data_modules import MixedTrajectoryDataModule
from lawm.latents import GaussianLatent
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.start_states import StartStateDataModule, posterior_states, share_of
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import RateConfig, WorldModelModule

STEPS = 8


class _PlainDescent:
    """Adam would blow up the rounding errors of gradients that are zero but for them."""

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.02)


class _WorldModel(_PlainDescent, WorldModelModule):
    pass


class _Policy(_PlainDescent, LatentPolicyModule):
    pass


class Losses(pl.Callback):
    """The training curve of this process."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))


def make_data(shard):
    data = MixedTrajectoryDataModule(
        [str(shard)], labels="3", held_out="none", window=4, batch_size=4, labelled_ratio=0.5
    )
    data.setup()
    return data


def make_stage(stage, data, transition_input):
    """The module and what it is trained on."""
    torch.manual_seed(0)
    masks = {"action_dropout": 0.0, "feature_dropout": 0.0}  # they would differ
    config = WorldModelConfig(transition_input, **SMALL, **masks)
    if stage == "world_model":
        return _WorldModel(data.spec, config, rate=RateConfig("target", target=3.0)), data
    world_model = WorldModel(data.spec, config)
    torch.nn.init.normal_(world_model.reward_head.output.weight)  # untrained it is zero
    # which rollouts go on is drawn by each process
    module = _Policy(world_model, data.spec, hidden=16, horizon=3, continued_share=0.0)
    return module, StartStateDataModule(world_model, data, batch_size=6)


def make_trainer(**changes):
    return quiet_trainer(STEPS, limit_val_batches=0, use_distributed_sampler=False, **changes)


def remove_noise(monkeypatch=None):
    """Every sample is a mode."""
    put = setattr if monkeypatch is None else monkeypatch.setattr
    put(GaussianLatent, "noise", lambda self, like, *shape: like.new_zeros(*shape, self.size))
    put(torch, "randn", torch.zeros)


def batches_of_both(stage, data, module, starts):
    """The batches of two processes, each pair as one."""
    if stage == "world_model":
        stream = iter(data.train_dataloader())
        return [_joined(next(stream), next(stream)) for _ in range(STEPS)]
    streams = []
    for rank in range(2):
        loader = starts.train_dataloader
        share = share_of(data.episodes(), rank, 2)
        starts.states = posterior_states(module.world_model.eval(), share)
        starts.trainer = type("Rank", (), {"global_rank": rank, "world_size": 2})
        streams.append(iter(loader()))
    pairs = [(next(streams[0]), next(streams[1])) for _ in range(STEPS)]
    return [ModelState(torch.cat([a.h, b.h]), torch.cat([a.z, b.z])) for a, b in pairs]


def _joined(one: Batch, other: Batch) -> Batch:
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


def main(stage: str, shard: str, transition_input: str, folder: str) -> None:
    """Train on two processes; each writes its weights and its curve."""
    remove_noise()
    module, data = make_stage(stage, make_data(shard), transition_input)
    curve = Losses()
    trainer = make_trainer(devices=2, strategy="ddp", callbacks=[curve])
    trainer.fit(module, data)
    content = {"weights": module.state_dict(), "losses": torch.tensor(curve.values)}
    torch.save(content, Path(folder, f"rank{trainer.global_rank}.pt"))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
