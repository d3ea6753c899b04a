"""The latent-action panel after each validation of stage 1."""

from __future__ import annotations

import json
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lawm.atomic_write import write_atomically
from lawm.batch import Batch
from lawm.callbacks.panel_figures import draw_open_loop, draw_rates
from lawm.panel import Panel, PanelFigures, measure, verdict
from lawm.world_model import WorldModel


class LatentActionPanelCallback(pl.Callback):
    """Measures, judges and draws the latent action on held-out trajectories.

    TensorBoard gets the scalars of :func:`scalars`, a figure of open-loop prediction against truth,
    one of the KL of each dimension, and the verdict as text; ``file`` gets all figures and the
    verdict as JSON.

    Args:
        file: Written anew each time; none by default.
        context: Steps that are filtered before the prediction starts.
        dimensions: Observation dimensions drawn.
        rows: Windows that are measured.
    """

    def __init__(
        self, file: Path | None = None, context: int = 5, dimensions: int = 4, rows: int = 64
    ) -> None:
        self._file = file
        self._context = context
        self._dimensions = dimensions
        self._rows = rows
        self._batch: Batch | None = None

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch: the panel is of the same windows every time."""
        if batch_idx == 0:
            self._batch = batch

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure and draw, on the first rank."""
        batch, self._batch = self._batch, None
        if batch is None or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if batch.reward.shape[1] <= self._context:
            return
        model = pl_module.model
        assert isinstance(model, WorldModel)
        batch = batch.first_labelled(self._rows)
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # measuring must not change the training
            panel = measure(model, batch, self._context)
        for logger in trainer.loggers:
            logger.log_metrics(scalars(panel.figures), trainer.global_step)
            if isinstance(logger, TensorBoardLogger):
                self._draw(logger, panel, batch, trainer.global_step)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps(as_dict(panel.figures), indent=2) + "\n")

    def _draw(self, logger: TensorBoardLogger, panel: Panel, batch: Batch, step: int) -> None:
        pictures = {
            "open_loop": draw_open_loop(panel, batch, self._context, self._dimensions),
            "latent_action_kl": draw_rates(panel.figures),
        }
        for name, picture in pictures.items():
            logger.experiment.add_image(name, picture, step, dataformats="HWC")
        logger.experiment.add_text("latent_action", str(verdict(panel.figures)), step)


def scalars(figures: PanelFigures) -> dict[str, float]:
    """What is logged as curves."""
    return {
        "held_out/shuffled_latent_ratio": figures.shuffled_ratio,
        "held_out/open_loop_error": figures.open_loop_error,
        "held_out/open_loop_error_true_actions": figures.open_loop_error / figures.error_ratio,
        "held_out/copy_last_frame_error": figures.copy_last_frame_error,
        "held_out/active_dimensions": float(figures.active_parts),
        "held_out/latent_action_rate_inverse": sum(figures.rate_inverse),
        "held_out/latent_action_rate_action": sum(figures.rate_action),
        **{f"held_out/probe_r2/{key}": value for key, value in figures.probe_r2.items()},
    }


def as_dict(figures: PanelFigures) -> dict[str, object]:
    """All figures and the verdict, for JSON."""
    judged = verdict(figures)
    return {"verdict": judged.name, "reason": judged.reason, **figures.as_dict()}


__all__ = ["LatentActionPanelCallback", "as_dict", "scalars"]
