"""Keeps training's random numbers independent of everything that only watches or interrupts it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lawm.ranks import of_all_ranks, of_this_rank

RANDOM_STATES_KEY = "random_states"  # in a checkpoint


class RandomStream(pl.Callback):
    """Saves torch's generators of every process, and gives validation numbers of its own.

    Training draws from no other generators. With it, N steps, a stop and N more steps equal 2N
    steps, and the validation interval does not change the weights. The processes draw from
    different streams. Continued with another number of processes, or on another kind of device,
    they are seeded anew.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._restored: dict[str, Tensor] | None = None
        self._before_validation: dict[str, Tensor] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save a row for each process."""
        states = _generator_states(pl_module.device)
        checkpoint[RANDOM_STATES_KEY] = {
            kind: of_all_ranks(trainer, state).cpu() for kind, state in states.items()
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the state; it is set when training starts, after all set-up has drawn."""
        rows = {
            kind: of_this_rank(trainer, states)
            for kind, states in checkpoint.get(RANDOM_STATES_KEY, {}).items()
        }
        self._restored = {kind: row for kind, row in rows.items() if row is not None}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin or continue the stream."""
        if self._restored and self._restored.keys() == _generator_states(pl_module.device).keys():
            _set_generator_states(self._restored, pl_module.device)
            return
        if self._restored is not None:
            rank_zero_warn(
                "The checkpoint was written by another number of processes or another kind of "
                "device: training goes on in the same stream of data, but with other random "
                "numbers, and the batches of all processes together may have another size."
            )
        if trainer.world_size > 1 or self._restored is not None:
            torch.manual_seed(hash((self._seed, trainer.global_rank, trainer.global_step)))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put training's state aside; every validation then draws the same numbers."""
        self._before_validation = _generator_states(pl_module.device)
        torch.manual_seed(self._seed)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put training's state back."""
        assert self._before_validation is not None
        _set_generator_states(self._before_validation, pl_module.device)


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    """Of the CPU and of the device that this process trains on."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generator_states(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


__all__ = ["RANDOM_STATES_KEY", "RandomStream"]
