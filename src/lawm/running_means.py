"""Means of logged values, kept on the device between two log steps.

Lightning's ``self.log`` costs about 0.3 ms a call on a CPU whatever ``log_every_n_steps`` is, and a
``.item()`` makes a GPU wait. Sums on the device and one ``log_dict`` every n steps avoid both.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lawm.ranks import of_all_ranks, of_this_rank

_STATE_KEY = "running_means"  # in a checkpoint


class RunningMeans(pl.Callback):
    """Sums what a module adds in each training step, and logs the means every n steps.

    A module makes one and adds to it in ``training_step``; whoever makes the Trainer puts it first
    among the callbacks, so that the others find the newest values. The means go to the loggers at
    the end of the step, before a checkpoint of that step is written, and the sums are part of the
    checkpoint: a resumed run logs what an uninterrupted one does. Under DDP the mean over the
    processes is logged.

    Args:
        prefix: Goes before the names, with a slash.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()
        self._last_step = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one step's scalars.

        A name that a step does not have, as where a batch has no action-free row, is a mean over
        the other steps.
        """
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(value, requires_grad=False)
        sums = [self._sums[name] for name in values]
        torch._foreach_add_(sums, [value.detach() for value in values.values()])
        self._counts.update(values.keys())

    def pop(self) -> dict[str, Tensor]:
        """The means since the last call; empty where nothing was added."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, Counter()
        return means

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the sums since the last log step, a row for each process."""
        if self._sums:
            sums = of_all_ranks(trainer, torch.stack(list(self._sums.values()))).cpu()
            counts = [self._counts[name] for name in self._sums]
            checkpoint[_STATE_KEY] = {"names": list(self._sums), "sums": sums, "counts": counts}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from the sums, or from their mean with another number of processes."""
        if state := checkpoint.get(_STATE_KEY):
            sums = of_this_rank(trainer, state["sums"])
            sums = state["sums"].mean(dim=0) if sums is None else sums
            names = state["names"]
            counts = state.get("counts") or [state["count"]] * len(names)  # older: one for all
            self._sums = dict(zip(names, sums.clone(), strict=True))
            self._counts = Counter(dict(zip(names, counts, strict=True)))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move restored sums to the device."""
        self._last_step = trainer.global_step
        self._sums = {name: total.to(pl_module.device) for name, total in self._sums.items()}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Log at every multiple of ``log_every_n_steps``."""
        step, last_step = trainer.global_step, self._last_step
        self._last_step = step
        if step == last_step or step % log_interval(trainer):
            return
        means = self.pop()
        values = of_all_ranks(trainer, torch.stack(list(means.values()))).mean(dim=0)
        names = [f"{self._prefix}/{name}" for name in means]
        newest = dict(zip(names, values, strict=True))
        pl_module.log_dict(newest, logger=False)  # for callbacks that read the newest values
        numbers = dict(zip(names, values.tolist(), strict=True))  # the one wait for the device
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step)


def log_interval(trainer: pl.Trainer) -> int:
    """Steps between two log steps: Lightning's ``log_every_n_steps``."""
    return int(trainer.log_every_n_steps)  # type: ignore[attr-defined]  # set by the Trainer's connector


__all__ = ["RunningMeans"]
