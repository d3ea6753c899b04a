"""Whether Lightning takes the settings of a run's Trainers, asked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lawm.errors import LawmError
from lawm.fit_config import FitConfig


def without_apple_gpu(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """A Trainer's settings, with the CPU where Lightning would choose an Apple GPU by itself.

    It has no float64, which the check for finite losses needs, and its random numbers are not among
    those that are kept around an evaluation.

    Raises:
        LawmError: It is asked for by name.
    """
    wanted = trainer["accelerator"]
    has_one = torch.backends.mps.is_available()
    if wanted == "mps" or (has_one and wanted == "gpu"):
        raise LawmError(
            f"trainer.accelerator is {wanted}, and lawm does not train on Apple GPUs: they have no "
            "float64. Set it to cpu or auto, or use a GPU with CUDA."
        )
    return {**trainer, "accelerator": "cpu"} if has_one and wanted == "auto" else dict(trainer)


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


__all__ = ["refuse_bad_trainers", "without_apple_gpu"]
