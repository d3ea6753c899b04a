"""Whether Lightning takes the settings of a run's Trainers, asked before anything is written."""

from __future__ import annotations

import os

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lawm.errors import LawmError
from lawm.fit_config import FitConfig


def refuse_bad_trainers(config: FitConfig) -> None:
    """Build the Trainer of each stage, and throw it away.

    Raises:
        LawmError: Lightning refuses one: no such accelerator or strategy, no such device, …; or it
            would wait for other machines that nobody told where to find this one.
    """
    for stage in config.stages_run:
        try:
            trainer = pl.Trainer(
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
        _refuse_lone_nodes(trainer)


def _refuse_lone_nodes(trainer: pl.Trainer) -> None:
    launcher = getattr(trainer.strategy, "cluster_environment", None)
    if (
        trainer.num_nodes > 1
        and isinstance(launcher, LightningEnvironment)
        and "MASTER_ADDR" not in os.environ
    ):
        raise LawmError(
            f"trainer.num_nodes is {trainer.num_nodes}, but this process was started on its own, "
            "and would wait for machines that do not know of it. Start it with srun or torchrun on "
            "each machine, or set MASTER_ADDR, MASTER_PORT and NODE_RANK there."
        )


__all__ = ["refuse_bad_trainers"]
