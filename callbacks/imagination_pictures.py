"""Moving pictures of what the world model imagines, after each validation of stage 1."""

from __future__ import annotations

import io
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from lawm.atomic_write import atomic_file
from lawm.batch import Batch
from lawm.callbacks.held_out_windows import HeldOutWindowsCallback
from lawm.callbacks.picture_grid import colours, draw_grid
from lawm.imagined_actions import held_actions, imagine_held
from lawm.open_loop import DrivenBy, open_loop
from lawm.rssm import ModelState
from lawm.video import gif_bytes
from lawm.world_model import Observed, WorldModel

FPS = 8.0  # slower than life: a window is often shorter than a second
DRIVEN_BY: dict[DrivenBy, str] = {"inverse": "latent actions", "action": "true actions"}
STRIP = 8  # columns of the still picture


class ImaginationPicturesCallback(HeldOutWindowsCallback):
    """Shows open-loop imagination beside the truth, and what the latent actions do.

    ``open_loop_<key>``: held-out windows, each a column: the truth, then the model, which sees the
    first steps and imagines the others, moved by the latent actions that q_free reads from the
    frames, and by the true actions. ``latent_actions_<key>``: the same starts under several latent
    actions, each a row; the still picture has time from left to right. Of observation keys that
    are not decoded to images nothing is shown.

    Args:
        folder: Gets the pictures as ``.gif`` and ``.png``, written anew each time; none by default.
        context: Steps that are filtered before imagination starts.
        columns: Windows shown.
        rows: Latent actions shown.
    """

    def __init__(
        self, folder: Path | None = None, context: int = 5, columns: int = 4, rows: int = 7
    ) -> None:
        super().__init__(context, columns)
        self._folder = folder
        self._rows = rows

    def look(self, trainer: pl.Trainer, model: WorldModel, batch: Batch) -> None:
        """Imagine and draw."""
        if not any(item.kind == "image" for item in model.spec.observations.values()):
            return
        with torch.no_grad():
            observed = model.observe(batch)
            moving = open_loop_frames(model, batch, observed, self._context)
            held, still = latent_action_frames(model, observed, self._context, self._rows)
        for name, frames in (moving | held).items():
            self._show(trainer, name, "gif", frames[0].shape, gif_bytes(frames, FPS))
        for name, picture in still.items():
            self._show(trainer, f"{name}_still", "png", picture.shape, _png(picture))

    def _show(
        self, trainer: pl.Trainer, name: str, kind: str, shape: tuple[int, ...], content: bytes
    ) -> None:
        """Into TensorBoard, whose browser moves a GIF that stands in an image, and as a file."""
        image = Summary.Image(
            height=shape[0], width=shape[1], colorspace=3, encoded_image_string=content
        )
        summary = Summary(value=[Summary.Value(tag=f"imagination/{name}", image=image)])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                writer = logger.experiment._get_file_writer()
                writer.add_summary(summary, trainer.global_step)
        if self._folder is not None:
            with atomic_file(self._folder / f"{name}.{kind}") as file:
                file.write(content)


def open_loop_frames(
    model: WorldModel, batch: Batch, observed: Observed, context: int
) -> dict[str, NDArray[np.uint8]]:
    """By name, (T + 1, height, width, 3): truth and imagination of each row of the batch."""
    seen = model.observation_decoder.pictures(observed.features[: context + 1])
    imagined = {
        driven_by: model.observation_decoder.pictures(
            open_loop(model, batch, observed, context, driven_by).features
        )
        for driven_by in DRIVEN_BY
    }
    shown = {}
    for key, reconstructed in seen.items():
        truth = colours(batch.obs[key].transpose(0, 1).cpu().numpy())  # (T + 1, B, H, W, 3)
        rows = [truth] + [
            colours(torch.cat([reconstructed, imagined[driven_by][key]]).cpu().numpy())
            for driven_by in DRIVEN_BY
        ]
        cells = np.stack(rows, axis=1)
        shown[f"open_loop_{key}"] = np.stack(
            [
                draw_grid(
                    cells[t],
                    ["truth", *DRIVEN_BY.values()],
                    f"{key}, step {t}: " + (_ahead(t - context) if t > context else "observed"),
                )
                for t in range(len(cells))
            ]
        )
    return shown


def latent_action_frames(
    model: WorldModel, observed: Observed, context: int, rows: int
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
    """Moving pictures of all starts, (H + 1, height, width, 3), and a still one of the first."""
    latent = model.latent_action.latent
    rates = latent.kl(observed.inverse_posterior, observed.action_prior).mean(dim=(0, 1))
    held = held_actions(latent, rates.argsort(descending=True).tolist(), rows)
    names = [action.name for action in held]
    horizon = observed.embed.shape[0] - 1 - context
    starts = zip(observed.h[context], observed.z[context], strict=True)
    imagined = torch.stack(
        [imagine_held(model, ModelState(h, z), held, horizon) for h, z in starts], dim=2
    )  # (H + 1, R, B, D + Z)
    moving, still = {}, {}
    for key, pictures in model.observation_decoder.pictures(imagined).items():
        cells = colours(pictures.cpu().numpy())
        moving[f"latent_actions_{key}"] = np.stack(
            [draw_grid(cell, names, f"{key}: {_ahead(t)}") for t, cell in enumerate(cells)]
        )
        times = np.unique(np.linspace(0, horizon, STRIP).round().astype(int))
        still[f"latent_actions_{key}"] = draw_grid(
            cells[times, :, 0].swapaxes(0, 1),
            names,
            f"{key}: one start under several latent actions, steps ahead: "
            + ", ".join(map(str, times)),
        )
    return moving, still


def _ahead(steps: int) -> str:
    return f"imagined, {steps} steps ahead"


def _png(picture: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="png")
    return content.getvalue()


__all__ = ["ImaginationPicturesCallback", "latent_action_frames", "open_loop_frames"]
