"""What Lightning's loop costs: updates under its Trainer and in a bare loop, in turn."""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import dataclass
from typing import Literal

import lightning.pytorch as pl
import torch

from lawm.benchmarks.workloads import (
    SIZES,
    Data,
    Parts,
    autocast_of,
    lawm_config,
    lawm_world_model,
)
from lawm.world_model_module import WorldModelModule

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Overhead:
    """Seconds an update, medians over the rounds."""

    lightning: float
    bare: float

    @property
    def share(self) -> float:
        """Of Lightning's time."""
        return 1.0 - self.bare / self.lightning


def measure_overhead(
    precision: Precision = "32-true",
    size: str = "small",
    batch: int = 16,
    window: int = 32,
    steps: int = 60,
    rounds: int = 6,
) -> Overhead:
    """Stage 1 with gradient clipping, schedule and running means, as `lawm fit` sets them.

    The difference between two lengths of training is taken, so that neither the Trainer's start
    nor its end is counted.
    """
    device = torch.device("cpu")
    data = Data(120, batch, window)
    step = lawm_world_model(SIZES[size], data, device, autocast_of(device, precision))
    lightning, bare = [], []
    for _ in range(rounds):
        short, long = (
            _fit(size, data, updates, precision) for updates in (steps // 4, steps + steps // 4)
        )
        lightning.append((long - short) / steps)
        start = time.perf_counter()
        for _ in range(steps):
            step(Parts(device))
        bare.append((time.perf_counter() - start) / steps)
    return Overhead(statistics.median(lightning), statistics.median(bare))


def _fit(size: str, data: Data, steps: int, precision: Precision) -> float:
    """Seconds of a whole fit."""
    module = WorldModelModule(data.spec, lawm_config(SIZES[size]))
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        precision=precision,
        gradient_clip_val=100.0,
        limit_val_batches=0,
        log_every_n_steps=50,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[module.means],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a validation loop that is switched off
        start = time.perf_counter()
        trainer.fit(module, datamodule=data.module)
    return time.perf_counter() - start


__all__ = ["Overhead", "measure_overhead"]
