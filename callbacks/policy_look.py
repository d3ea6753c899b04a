"""What looks at the policy every so often while it is trained, and when training ends."""

from __future__ import annotations

from abc import ABC, abstractmethod

import lightning.pytorch as pl


class PolicyLookCallback(pl.Callback, ABC):
    """Calls :meth:`look` at multiples of ``every_n_steps`` and once at the end.

    Args:
        every_n_steps: Global steps between two looks.
    """

    def __init__(self, every_n_steps: int) -> None:
        assert every_n_steps > 0, every_n_steps
        self._every_n_steps = every_n_steps
        self._last_step = 0

    @abstractmethod
    def look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, final: bool) -> None:
        """Measure and log; must not change training.

        Args:
            trainer: Whose global step it is.
            pl_module: With the policy as it is now.
            final: At the end of training.
        """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the steps to the next look from where training starts or resumes."""
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Look when a multiple of ``every_n_steps`` was reached or passed."""
        step, last_step = trainer.global_step, self._last_step
        self._last_step = step
        is_due = step // self._every_n_steps > last_step // self._every_n_steps
        if is_due and step != trainer.max_steps:  # there the look at the end follows
            self.look(trainer, pl_module, final=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the trained policy."""
        self.look(trainer, pl_module, final=True)


__all__ = ["PolicyLookCallback"]
