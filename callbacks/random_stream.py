"""Keeps training's random numbers independent of everything that only watches or interrupts it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor


class RandomStream(pl.Callback):
    """Saves the state of torch's generators, and gives validation numbers of its own.

    With it, N steps, a stop and N more steps equal 2N steps, and the validation interval does not
    change the weights. With several processes each gets its own stream, drawn anew after a resume
    (a checkpoint holds the state of the first process only).

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._restored: dict[str, Any] | None = None
        self._before_validation: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """State of the generators of this process."""
        return _generator_states()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the state; it is set when training starts, after all set-up has drawn."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin or continue the stream."""
        if trainer.world_size > 1:
            torch.manual_seed(hash((self._seed, trainer.global_rank, trainer.global_step)))
        elif self._restored is not None:
            _set_generator_states(self._restored)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put training's state aside; every validation then draws the same numbers."""
        self._before_validation = _generator_states()
        torch.manual_seed(self._seed)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put training's state back."""
        assert self._before_validation is not None
        _set_generator_states(self._before_validation)


def _generator_states() -> dict[str, Any]:
    cuda: list[Tensor] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_generator_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if len(states["cuda"]) == torch.cuda.device_count():  # else continued on other hardware
        torch.cuda.set_rng_state_all(states["cuda"])


__all__ = ["RandomStream"]
