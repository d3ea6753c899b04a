"""Batches of a mixture whose observations count, so that they tell where they come from."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from shard_factory import EPISODE_STRIDE

from lawm.data_modules import MixedTrajectoryDataModule


def make_data(path, **changes):
    settings = {"labels": "5", "held_out": "2", "labelled_ratio": 0.5, "window": 4, "batch_size": 8}
    settings |= changes
    return MixedTrajectoryDataModule([str(path)], **settings)


def draw(data, count, rank=0, world_size=1):
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return list(itertools.islice(data.train_dataloader(), count))


def episodes_in(batch):
    """Which episode each row comes from, by its counter values."""
    return (batch.obs["state"][:, 0, 0] // EPISODE_STRIDE).int().tolist()


def training_episodes(data):
    """Numbers of the labelled and of the action-free episodes, by their counter values."""
    labelled, free = [], []
    for batch in data.episodes():
        numbers = episodes_in(batch)
        labelled += numbers[: batch.num_labelled]
        free += numbers[batch.num_labelled :]
    return labelled, free
