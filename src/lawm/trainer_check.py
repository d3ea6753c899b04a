"""Whether Lightning takes the settings of a run's Trainers, asked before anything is written."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lawm.errors import LawmError
from lawm.fit_config import FitConfig


def refuse_bad_trainers(config: FitConfig) -> None:
    """Build the Trainer of each stage, and throw it away.

    Raises:
        LawmError: Lightning refuses one: no such accelerator or strategy, no such device, …
    """
    for stage in config.stages_run:
        try:
            pl.Trainer(
                **{**config.trainer, **config.stages[stage].trainer_arguments()},
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise LawmError(
                f"Lightning refuses trainer.* or stages.{stage}.*: {str(error).rstrip('.')}."
            ) from error


__all__ = ["refuse_bad_trainers"]
