"""The latent-action panel after each validation of stage 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger

from lawm.atomic_write import write_atomically
from lawm.batch import Batch
from lawm.callbacks.held_out_windows import HeldOutWindowsCallback
from lawm.callbacks.panel_figures import draw_open_loop, draw_rates
from lawm.panel import Panel, PanelFigures, measure, verdict
from lawm.world_model import WorldModel


class LatentActionPanelCallback(HeldOutWindowsCallback):
    """Measures, judges and draws the latent action on held-out trajectories.

    TensorBoard gets the scalars of :func:`scalars`, a figure of open-loop prediction against truth,
    one of the KL of each dimension, and the verdict as text; ``file`` gets all figures and the
    verdict as JSON.

    Args:
        file: Written anew each time; none by default.
        context: Steps that are filtered before the prediction starts.
        dimensions: Observation dimensions drawn.
        rows: Windows that are measured, of the first batch; R² is that of all held-out windows.
    """

    def __init__(
        self, file: Path | None = None, context: int = 5, dimensions: int = 4, rows: int = 64
    ) -> None:
        super().__init__(context, rows)
        self._file = file
        self._dimensions = dimensions
        self._r2: tuple[float, ...] = ()  # of q_free and of q_act

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take R² of all held-out windows, not of this look's alone; a collective call."""
        if not trainer.sanity_checking:
            metrics = (getattr(pl_module, name) for name in ("r2_inverse", "r2_action"))
            self._r2 = tuple(float(metric.compute()) for metric in metrics)
        super().on_validation_epoch_end(trainer, pl_module)

    def look(self, trainer: pl.Trainer, model: WorldModel, batch: Batch) -> None:
        """Measure, judge, draw."""
        panel = measure(model, batch, self._context)
        inverse, action = self._r2
        figures = replace(panel.figures, action_r2_inverse=inverse, action_r2_action=action)
        panel = replace(panel, figures=figures)
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
