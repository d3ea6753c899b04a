"""Pictures of open-loop prediction against truth, on held-out trajectories."""

from __future__ import annotations

import io
import math

import lightning.pytorch as pl
import matplotlib.axes
import matplotlib.figure
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from torch import Tensor

from lawm.batch import Batch
from lawm.open_loop import DrivenBy, last_frame, open_loop, standardised_error
from lawm.world_model import WorldModel

CURVES: dict[DrivenBy, str] = {
    "inverse": "moved by latent actions inferred from the frames (q_free)",
    "action": "moved by the true actions",
    "prior": "moved by the prior's latent actions",
    "shuffled": "moved by another trajectory's latent actions",
}
BASELINE = "last frame"
LABELS: dict[str, str] = {str(k): v for k, v in CURVES.items()} | {
    BASELINE: "no model: copy of the last frame"
}
COLOURS = {  # told apart with any colour vision (Okabe and Ito, "Color Universal Design", 2008)
    "inverse": "#0072B2",
    "action": "#E69F00",
    "prior": "#009E73",
    "shuffled": "#D55E00",
    BASELINE: "#999999",
}
FIGURE_SIZE, DPI = (8.0, 9.0), 100  # inches; TensorBoard shows it pixel by pixel when enlarged


class OpenLoopCallback(pl.Callback):
    """After each validation of stage 1: a figure and the shuffled-latent ratio.

    The figure shows error against horizon beside the baseline "copy the last frame", and a few
    observation dimensions of one trajectory. The ratio is the error with the latent actions
    shuffled over the batch, divided by the error with the right ones: near 1, the model does not
    listen to the latent action.

    Args:
        context: Steps that are filtered before the prediction starts.
        dimensions: Observation dimensions drawn.
        rows: Windows that the errors are averaged over.
    """

    def __init__(self, context: int = 5, dimensions: int = 4, rows: int = 64) -> None:
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
        """Keep the first batch: the picture is of the same windows every time."""
        if batch_idx == 0:
            self._batch = batch

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict and draw, on the first rank."""
        batch, self._batch = self._batch, None
        if batch is None or not trainer.is_global_zero or trainer.sanity_checking:
            return
        if batch.reward.shape[1] <= self._context:
            return
        model = pl_module.model
        assert isinstance(model, WorldModel)
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            errors, drawn = self._predict(model, batch)
        metrics = {
            "held_out/shuffled_latent_ratio": float(
                errors["shuffled"].mean() / errors["inverse"].mean()
            ),
            "held_out/open_loop_error": float(errors["inverse"].mean()),
            "held_out/open_loop_error_true_actions": float(errors["action"].mean()),
            "held_out/copy_last_frame_error": float(errors[BASELINE].mean()),
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, trainer.global_step)
            if isinstance(logger, TensorBoardLogger):
                image = _draw(errors, drawn, batch, self._context, self._dimensions)
                logger.experiment.add_image(
                    "open_loop", image, trainer.global_step, dataformats="HWC"
                )

    def _predict(
        self, model: WorldModel, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[DrivenBy, Tensor]]:
        """Error by horizon, and the first state key's prediction for the first window."""
        rows = min(self._rows, batch.num_rows)
        part = Batch(
            obs={key: value[:rows] for key, value in batch.obs.items()},
            action=batch.action[:rows],
            reward=batch.reward[:rows],
            terminated=batch.terminated[:rows],
            has_reward=batch.has_reward[:rows],
        )
        observed = model.observe(part)
        key = next(iter(part.obs))
        errors: dict[str, Tensor] = {}
        drawn: dict[DrivenBy, Tensor] = {}
        for driven_by in CURVES:
            predicted = open_loop(model, part, observed, self._context, driven_by).observation
            errors[driven_by] = standardised_error(model, predicted, part, self._context).cpu()
            drawn[driven_by] = predicted[key][:, 0].cpu()
        baseline = last_frame(part, self._context)
        errors[BASELINE] = standardised_error(model, baseline, part, self._context).cpu()
        return errors, drawn


def _draw(
    errors: dict[str, Tensor],
    drawn: dict[DrivenBy, Tensor],
    batch: Batch,
    context: int,
    dimensions: int,
) -> np.ndarray:
    """The figure as ``(H, W, 3)`` uint8, the same size whatever it shows."""
    key = next(iter(batch.obs))
    truth = batch.obs[key][0].cpu().numpy()
    liveliest = truth.std(axis=0).argsort()[::-1][:dimensions].tolist()
    figure = matplotlib.figure.Figure(figsize=FIGURE_SIZE, dpi=DPI, layout="constrained")
    rows = 1 + math.ceil(len(liveliest) / 2)
    grid = figure.add_gridspec(rows, 2, height_ratios=[1.6] + [1.0] * (rows - 1))
    _draw_errors(figure.add_subplot(grid[0, :]), errors, context)
    for place, dimension in enumerate(liveliest):
        axis = figure.add_subplot(grid[1 + place // 2, place % 2])
        hidden = "_" * (place > 0)  # one entry for all panels: matplotlib leaves out "_..."
        label = f"{hidden}truth"
        axis.plot(truth[:, dimension], color="black", linewidth=2.5, alpha=0.35, label=label)
        steps = np.arange(context + 1, len(truth))
        for name in ("inverse", "action"):
            axis.plot(steps, drawn[name][:, dimension].numpy(), color=COLOURS[name])
        axis.axvspan(0, context, color="#eeeeee", zorder=0, label=f"{hidden}observed")
        axis.set(title=f"{key}[{dimension}] of the first trajectory", xlabel="step")
        axis.margins(x=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def _draw_errors(axis: matplotlib.axes.Axes, errors: dict[str, Tensor], context: int) -> None:
    """Error against horizon, and in the title what to look for."""
    horizon = np.arange(1, len(errors["inverse"]) + 1)
    for name, label in LABELS.items():
        style = "--" if name == BASELINE else "-"
        axis.plot(horizon, errors[name].numpy(), style, color=COLOURS[name], label=label)
    ratio = float(errors["shuffled"].mean() / errors["inverse"].mean())
    axis.set_title(
        f"Open-loop prediction of held-out trajectories after {context} observed steps\n"
        f"latent actions shuffled: {ratio:.2f} times the error (at 1 the model ignores them)"
    )
    axis.set(xlabel="steps ahead", ylabel="squared error / variance")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")  # 0.5, not 5 x 10^-1
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0)
    axis.grid(which="major", alpha=0.3)


__all__ = ["OpenLoopCallback"]
