"""A tiny training on the mixed data module; as a program, on two processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch

from lawm.data_modules import MixedTrajectoryDataModule


class Probe(pl.LightningModule):
    """A linear next-observation model that notes the first state of every row it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(3, 3)
        self.seen = []
        self.validated = 0

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.obs["state"][:, 0, 0].tolist())
        obs = batch.obs["state"]
        return (self.net(obs[:, :-1]) - obs[:, 1:]).square().mean()

    def validation_step(self, batch, batch_idx):
        self.validated += batch.num_labelled

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def make_trainer(max_steps, **changes):
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": -1,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(max_steps=max_steps, **(settings | changes))


def make_data(path, **changes):
    settings = {
        **{"labels": "3", "held_out": "2", "window": 3, "batch_size": 5, "labelled_ratio": 0.3},
        **changes,
    }
    return MixedTrajectoryDataModule([str(path)], **settings)


def main(shard: str, folder: str) -> None:
    """Six steps on two processes; each writes what it saw and learnt."""
    probe = Probe()
    trainer = make_trainer(6, devices=2, strategy="ddp")
    trainer.fit(probe, make_data(shard, labelled_ratio=0.4))
    result = {"seen": probe.seen, "weight": probe.net.weight.tolist()}
    Path(folder, f"rank{trainer.global_rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
