"""Pictures of open-loop prediction against truth, on held-out trajectories."""

from __future__ import annotations

import io

import lightning.pytorch as pl
import matplotlib.figure
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from lawm.batch import Batch
from lawm.open_loop import DrivenBy, last_frame, open_loop, standardised_error
from lawm.world_model import WorldModel

CURVES: dict[DrivenBy, str] = {
    "inverse": "latent actions inferred from the frames (q_free)",
    "action": "true actions",
    "shuffled": "latent actions of another trajectory",
    "prior": "latent actions of the prior",
}


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
            "held_out/copy_last_frame_error": float(errors["last frame"].mean()),
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
        errors["last frame"] = standardised_error(model, baseline, part, self._context).cpu()
        return errors, drawn


def _draw(
    errors: dict[str, Tensor],
    drawn: dict[DrivenBy, Tensor],
    batch: Batch,
    context: int,
    dimensions: int,
) -> np.ndarray:
    """The figure as ``(H, W, 3)`` uint8."""
    key = next(iter(batch.obs))
    truth = batch.obs[key][0].cpu().numpy()
    liveliest = truth.std(axis=0).argsort()[::-1][:dimensions]
    figure = matplotlib.figure.Figure(figsize=(4 * (1 + len(liveliest)), 3.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(liveliest), squeeze=False)[0]
    horizon = np.arange(1, len(errors["inverse"]) + 1)
    for name, label in [*CURVES.items(), ("last frame", "copy of the last frame")]:
        axes[0].plot(horizon, errors[name].numpy(), label=label)
    axes[0].set(xlabel="steps ahead", ylabel="squared error (standardised)", yscale="log")
    axes[0].legend(fontsize=6)
    steps = np.arange(context + 1, truth.shape[0])
    for axis, dimension in zip(axes[1:], liveliest, strict=True):
        axis.plot(truth[:, dimension], color="black", label="truth")
        axis.plot(steps, drawn["inverse"][:, dimension].numpy(), label="latent actions (q_free)")
        axis.plot(steps, drawn["action"][:, dimension].numpy(), label="true actions")
        axis.axvline(context, color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=f"{key}[{dimension}]", xlabel="step")
    axes[1].legend(fontsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return np.asarray(Image.open(buffer).convert("RGB"))


__all__ = ["OpenLoopCallback"]
