"""The updates that are timed: lawm's two stages, and a stock Dreamer's at the same sizes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lawm.batch import Batch
from lawm.benchmarks.reference_dreamer import ReferenceActorCritic, ReferenceWorldModel
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.data_modules.shard_writer import ShardWriter
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.spec import DataSpec
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

OBS_DIM, ACTION_DIM = 24, 6  # of walker-walk
EPISODE_LENGTH = 500


@dataclass(frozen=True)
class Size:
    """Widths that lawm and the reference share."""

    deter: int
    hidden: int
    stoch: int


SIZES = {"small": Size(192, 192, 24), "12m": Size(1024, 512, 32)}


class Parts:
    """Wall time of the named parts of an update."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


Step = Callable[[Parts], None]
Autocast = Callable[[], AbstractContextManager[None]]


def autocast_of(device: torch.device, precision: str) -> Autocast:
    """What an update's forward pass runs in, for Lightning's name of a precision."""
    if precision == "32-true":
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)


class Data:
    """Batches by the real data module, from a shard of made-up trajectories.

    Args:
        episodes: Of 500 steps each; a tenth is labelled, as is half of every batch.
        batch_size: B.
        window: T.
    """

    def __init__(self, episodes: int, batch_size: int, window: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "made_up.h5"
            _write_shard(path, episodes)
            self.module = MixedTrajectoryDataModule(
                [str(path)],
                labels="10%",
                labelled_ratio=0.5,
                batch_size=batch_size,
                window=window,
            )
            self.module.setup("fit")
        self.spec: DataSpec = self.module.spec
        self._batches = iter(self.module.train_dataloader())

    def next_batch(self, device: torch.device) -> Batch:
        """The next training batch on the device."""
        return self.module.transfer_batch_to_device(next(self._batches), device, 0)


def lawm_world_model(size: Size, data: Data, device: torch.device, autocast: Autocast) -> Step:
    """One update of stage 1 as Lightning's loop makes it, from the sampler to the log."""
    module = WorldModelModule(data.spec, lawm_config(size)).to(device)
    optimizer = module.configure_optimizers()["optimizer"]

    def step(parts: Parts) -> None:
        with parts.part("data"):
            batch = data.next_batch(device)
        with parts.part("forward"), autocast():
            loss, logs = module.compute_loss(batch)
        with parts.part("logging"):
            module.record(loss, logs)
        with parts.part("backward"):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        with parts.part("optimiser"):
            module.configure_gradient_clipping(optimizer, 100.0)
            optimizer.step()

    return step


def lawm_policy(
    size: Size, data: Data, starts: int, horizon: int, device: torch.device, autocast: Autocast
) -> Step:
    """One update of stage 2."""
    model = WorldModel(data.spec, lawm_config(size)).to(device)
    module = LatentPolicyModule(model, data.spec, hidden=size.hidden, horizon=horizon).to(device)
    optimizer = module.configure_optimizers()["optimizer"]
    pool = _start_states(size, 16 * starts, device)

    def step(parts: Parts) -> None:
        with parts.part("data"):
            rows = torch.randint(0, 16 * starts, (starts,), device=device)
            start = ModelState(pool.h[rows], pool.z[rows])
        with parts.part("forward"), autocast():
            loss, logs = module.compute_loss(start)
        with parts.part("logging"):
            module.record(loss, logs)
        with parts.part("backward"):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        with parts.part("optimiser"):
            module.configure_gradient_clipping(optimizer)
            optimizer.step()
            module.update_target()

    return step


def reference_world_model(size: Size, data: Data, device: torch.device, autocast: Autocast) -> Step:
    """One update of the stock Dreamer's world model; all rows have actions and rewards."""
    model = ReferenceWorldModel(OBS_DIM, ACTION_DIM, size.deter, size.stoch, size.hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 4e-4)

    def step(parts: Parts) -> None:
        batch = data.next_batch(device)
        rows = batch.num_rows // max(batch.num_labelled, 1) + 1
        action = batch.action.repeat(rows, 1, 1)[: batch.num_rows]
        reward = batch.reward.repeat(rows, 1)[: batch.num_rows]
        with autocast():
            loss = model.loss(batch.obs["state"], action, reward, batch.terminated)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        with parts.part("optimiser"):
            optimizer.step()

    return step


def reference_policy(
    size: Size, starts: int, horizon: int, device: torch.device, autocast: Autocast
) -> Step:
    """One update of the stock Dreamer's actor and critic."""
    model = ReferenceWorldModel(OBS_DIM, ACTION_DIM, size.deter, size.stoch, size.hidden)
    module = ReferenceActorCritic(model, ACTION_DIM, size.hidden).to(device)
    optimizers = [
        torch.optim.Adam(network.parameters(), 3e-4) for network in (module.actor, module.critic)
    ]
    pool = _start_states(size, 16 * starts, device)

    def step(parts: Parts) -> None:
        rows = torch.randint(0, 16 * starts, (starts,), device=device)
        with autocast():
            loss = module.loss(pool.h[rows], pool.z[rows], horizon)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        with parts.part("optimiser"):
            for network, optimizer in zip((module.actor, module.critic), optimizers, strict=True):
                torch.nn.utils.clip_grad_norm_(network.parameters(), 100.0)
                optimizer.step()
            module.update_target()

    return step


def lawm_config(size: Size) -> WorldModelConfig:
    """Of lawm's model; the rest as by default."""
    return WorldModelConfig(
        deter=size.deter, hidden=size.hidden, embed=size.hidden, stoch=size.stoch
    )


def _start_states(size: Size, num: int, device: torch.device) -> ModelState:
    return ModelState(
        torch.randn(num, size.deter, device=device).tanh(),
        torch.randn(num, size.stoch, device=device),
    )


def _write_shard(path: Path, episodes: int) -> None:
    rng, ones = np.random.default_rng(0), np.ones(ACTION_DIM)
    with ShardWriter(path, action_low=-ones, action_high=ones) as writer:
        for _ in range(episodes):
            writer.add_episode(
                {"state": rng.normal(size=(EPISODE_LENGTH + 1, OBS_DIM)).astype(np.float32)},
                action=rng.uniform(-1.0, 1.0, (EPISODE_LENGTH, ACTION_DIM)).astype(np.float32),
                reward=rng.random(EPISODE_LENGTH).astype(np.float32),
                terminated=False,
                truncated=True,
                source_id="made up",
            )


__all__ = [
    "SIZES",
    "Autocast",
    "Data",
    "Parts",
    "Size",
    "Step",
    "lawm_config",
    "lawm_policy",
    "lawm_world_model",
    "reference_policy",
    "reference_world_model",
]
