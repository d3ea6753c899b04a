"""The figures of the latent-action panel."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from lawm.batch import Batch
from lawm.panel import ACTIVE_NATS, BASELINE, Panel, PanelFigures

LABELS: dict[str, str] = {
    "inverse": "moved by latent actions inferred from the frames (q_free)",
    "action": "moved by the true actions",
    "prior": "moved by the prior's latent actions",
    "shuffled": "moved by another trajectory's latent actions",
    BASELINE: "no model: copy of the last frame",
}
COLOURS = {  # told apart with any colour vision (Okabe and Ito, "Color Universal Design", 2008)
    "inverse": "#0072B2",
    "action": "#E69F00",
    "prior": "#009E73",
    "shuffled": "#D55E00",
    BASELINE: "#999999",
}
DPI = 100  # TensorBoard shows a picture pixel by pixel when it is enlarged


def draw_open_loop(panel: Panel, batch: Batch, context: int, dimensions: int) -> NDArray[np.uint8]:
    """Prediction against truth as ``(H, W, 3)``, the same size whatever it shows.

    Above the error by horizon, below the liveliest ``dimensions`` of the first trajectory's state.
    """
    key = panel.drawn_key
    truth = np.zeros((0, 0)) if key is None else batch.obs[key][0].cpu().numpy()
    liveliest = truth.std(axis=0).argsort()[::-1][:dimensions].tolist() if key else []
    figure = matplotlib.figure.Figure(figsize=(8.0, 9.0), dpi=DPI, layout="constrained")
    rows = 1 + math.ceil(len(liveliest) / 2)  # of images alone there is no curve to draw
    grid = figure.add_gridspec(rows, 2, height_ratios=[1.6] + [1.0] * (rows - 1))
    _draw_errors(figure.add_subplot(grid[0, :]), panel, context)
    for place, dimension in enumerate(liveliest):
        axis = figure.add_subplot(grid[1 + place // 2, place % 2])
        hidden = "_" * (place > 0)  # one entry for all panels: matplotlib leaves out "_..."
        label = f"{hidden}truth"
        axis.plot(truth[:, dimension], color="black", linewidth=2.5, alpha=0.35, label=label)
        steps = np.arange(context + 1, len(truth))
        for name in ("inverse", "action"):
            axis.plot(steps, panel.predicted[name][:, dimension].numpy(), color=COLOURS[name])
        axis.axvspan(0, context, color="#eeeeee", zorder=0, label=f"{hidden}observed")
        axis.set(title=f"{key}[{dimension}] of the first trajectory", xlabel="step")
        axis.margins(x=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return _pixels(figure)


def draw_rates(figures: PanelFigures) -> NDArray[np.uint8]:
    """KL of each part of u as ``(H, W, 3)``."""
    figure = matplotlib.figure.Figure(figsize=(8.0, 3.5), dpi=DPI, layout="constrained")
    axis = figure.add_subplot()
    parts = np.arange(len(figures.rate_inverse))
    for shift, name, rate in (
        (-0.2, "inferred from the frames, KL(q_free || p)", figures.rate_inverse),
        (0.2, "inferred from the action, KL(q_act || p)", figures.rate_action),
    ):
        colour = COLOURS["inverse" if shift < 0 else "action"]
        axis.bar(parts + shift, rate, width=0.4, color=colour, label=name)
    axis.axhline(ACTIVE_NATS, color="black", linewidth=1, linestyle=":")
    axis.set_title(
        f"What each dimension of the latent action carries, {figures.active_parts} active"
    )
    axis.set(xlabel="dimension", ylabel="nats a step", xticks=parts)
    axis.legend(fontsize=9)
    return _pixels(figure)


def _pixels(figure: matplotlib.figure.Figure) -> NDArray[np.uint8]:
    """Drawn once; ``savefig`` would draw everything twice and pack it as a file."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw_errors(axis: matplotlib.axes.Axes, panel: Panel, context: int) -> None:
    """Error against horizon, and in the title what to look for."""
    errors, ratio = panel.errors, panel.figures.shuffled_ratio
    horizon = np.arange(1, len(errors["inverse"]) + 1)
    for name, label in LABELS.items():
        style = "--" if name == BASELINE else "-"
        axis.plot(horizon, errors[name].numpy(), style, color=COLOURS[name], label=label)
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


__all__ = ["draw_open_loop", "draw_rates"]
