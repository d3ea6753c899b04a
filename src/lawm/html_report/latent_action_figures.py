"""What the latent action carries, and the panel's numbers along training."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from lawm.html_report.run_files import numbers
from lawm.html_report.run_record import RunRecord
from lawm.html_report.svg_figure import (
    BAD,
    FAINT,
    SERIES,
    Figure,
    Line,
    SmallPanel,
    new_figure,
    page_style,
    small_panels,
    to_svg,
)
from lawm.panel import ACTIVE_NATS, Thresholds


def rates_figure(run: RunRecord) -> Figure | None:
    """KL of each dimension of the latent action, from panel.json."""
    inverse, action = numbers(run.panel.get("rate_inverse")), numbers(run.panel.get("rate_action"))
    if not inverse:
        return None
    with page_style():
        figure = new_figure(10.0, 3.0)
        axis = figure.add_subplot()
        series = (
            (-0.2, inverse, 0, "inferred from the frames, KL(q_free || p)"),
            (0.2, action, 1, "inferred from the action, KL(q_act || p)"),
        )
        keys = []
        for shift, rate, colour, label in series:
            places = [index + shift for index in range(len(rate))]
            axis.bar(places, rate, width=0.38, color=SERIES[colour])
            keys.append((label, SERIES[colour], "-"))
        axis.axhline(ACTIVE_NATS, color=BAD, linestyle="--", linewidth=1.2)
        axis.set(xlabel="dimension of the latent action", ylabel="nats a step")
        axis.xaxis.set_major_locator(MaxNLocator(16, integer=True))
        axis.grid(visible=False, axis="x")
    active = sum(rate > ACTIVE_NATS for rate in inverse)
    caption = (
        f"{active} of {len(inverse)} dimensions carry more than {ACTIVE_NATS:g} nats a step "
        "(dashed). Good: about as many active dimensions as the action has, and both bars of "
        "similar height. Bad: none active (collapse); or the frames' bars far above the action's, "
        "which means that the latent action carries more of the future than an action decides "
        "(leak)."
    )
    title = "What each dimension of the latent action carries"
    return Figure(title, to_svg(figure, title), caption, keys)


def panel_figure(run: RunRecord) -> Figure | None:
    """The panel's numbers along stage 1, with the thresholds of the verdict."""
    limits, curves = Thresholds(), run.curves("world_model")

    def line(label: str, name: str, colour: str) -> list[Line]:
        curve = curves.get(f"held_out/{name}")
        return [Line(label, curve, colour)] if curve else []

    inverse, action, other = SERIES[0], SERIES[1], FAINT
    candidates = (
        SmallPanel(
            "R² of the action",
            line("", "action_r2_inverse", inverse) + line("", "action_r2_action", action),
            limits.least_action_r2,
        ),
        SmallPanel(
            "error, latent actions shuffled / own",
            line("", "shuffled_latent_ratio", inverse),
            limits.least_shuffled_ratio,
        ),
        SmallPanel(
            "open-loop error / variance",
            line("", "open_loop_error", inverse)
            + line("", "open_loop_error_true_actions", action)
            + line("", "copy_last_frame_error", other),
        ),
    )
    panels = [panel for panel in candidates if panel.lines]
    if not panels:
        return None
    title = "The panel along training"
    caption = (
        "On held-out labelled trajectories. Dashed: the verdict's thresholds; above is good. Open "
        "loop: good is far below the copy of the last frame, and close to the error under the true "
        "actions; far below that is a leak. A falling R² while the losses still fall is over-fit "
        "of the few labels."
    )
    legend = [
        ("from the frames (q_free)", inverse, "-"),
        ("from the true action (q_act)", action, "-"),
        ("copy of the last frame", other, "-"),
        ("threshold", BAD, "--"),
    ]
    svg = small_panels(panels, "updates of the world model", title)
    return Figure(title, svg, caption, legend)


__all__ = ["panel_figure", "rates_figure"]
