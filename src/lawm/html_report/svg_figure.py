"""matplotlib figures as SVG inside the page, in the page's colours and fonts."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import matplotlib.axes
import matplotlib.figure
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from lawm.html_report.run_files import Curve

# Each colour stands for a variable of the style sheet, which has a light and a dark value for it.
# The eight are told apart with any colour vision (Okabe and Ito, "Color Universal Design", 2008).
INK, FAINT, GRID, PAPER = "#101112", "#808182", "#d0d1d2", "#fdfcfb"
GOOD, BAD = "#009e72", "#d55e01"
SERIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800", "#6b6b6b")
VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
DASHES = ("-", "--", ":", "-.")
COLUMNS = 3  # of small panels
MAX_POINTS = 2000  # of a line; above, means of neighbours are drawn

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud and searched, and is small
    "font.size": 11.0,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.xmargin": 0.02,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a name with a $ in it is a name
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}  # none: it names files
_numbers = itertools.count()


@dataclass(frozen=True)
class Line:
    """A curve of a small panel."""

    label: str
    curve: Curve
    colour: str
    dash: str = "-"


@dataclass(frozen=True)
class SmallPanel:
    """One of several small axes: a title with the unit, lines, and a threshold if there is one."""

    title: str
    lines: Sequence[Line]
    threshold: float | None = None


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    title: str
    svg: Markup
    caption: str  # what it shows, what is good and what is bad
    keys: list[tuple[str, str, str]] = field(default_factory=list)  # label, colour, dash

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """The keys with the page's colours; below the picture, where it hides nothing."""
        return [(label, VARIABLES[colour], dash) for label, colour, dash in self.keys]


@contextmanager
def page_style() -> Iterator[None]:
    """Matplotlib's settings for the page."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """An empty figure; sizes in inches, of which the page shows about ten in its width."""
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: matplotlib.figure.Figure, title: str) -> Markup:
    """The figure as an ``<svg>`` element.

    Args:
        figure: Drawn within :func:`page_style`.
        title: Read aloud in place of the picture.
    """
    buffer = io.StringIO()
    with page_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has others
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # it would rule the page
    # Names are those of the page: those of two figures would meet
    prefix = f"f{next(_numbers)}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'xlink:href="#', f'href="#{prefix}', text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", text)
    head = f'<svg role="img" aria-label="{escape(title)}" '
    return Markup(re.sub(r'<svg (?:width="[^"]*" |height="[^"]*" )*', head, text, count=1))


def small_panels(panels: Sequence[SmallPanel], x_label: str, title: str) -> Markup:
    """A grid of small axes that share the time axis."""
    rows = -(-len(panels) // COLUMNS)
    with page_style():
        figure, axes = _grid(rows)
        for axis, panel in zip(axes, panels, strict=False):
            for line in panel.lines:
                draw(axis, line)
            if panel.threshold is not None:
                axis.axhline(panel.threshold, color=BAD, linewidth=1.2, linestyle="--")
            axis.set_title(panel.title[:60], fontsize=10.5)
            axis.tick_params(labelsize=10)
            axis.xaxis.set_major_locator(step_ticks(4))
            axis.yaxis.set_major_locator(MaxNLocator(5))
            _leave_out_the_start(axis, panel)
        for axis in axes[len(panels) :]:
            axis.remove()
        figure.supxlabel(x_label, fontsize=10.5, y=0.1 / figure.get_figheight(), va="bottom")
    return to_svg(figure, title)


def _grid(rows: int) -> tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]:
    """Rows of three axes at fixed places, which takes half as long as finding the best ones."""
    width, height = 10.0, 2.35 * rows + 0.25  # inches, as all here
    left, right, top, bottom, gap = 0.7, 0.1, 0.3, 0.65, 0.8
    figure = matplotlib.figure.Figure(figsize=(width, height))
    each_width = (width - left - right - (COLUMNS - 1) * gap) / COLUMNS
    each_height = (height - top - bottom - (rows - 1) * gap) / rows
    axes = figure.subplots(
        rows,
        COLUMNS,
        squeeze=False,
        gridspec_kw={
            "left": left / width,
            "right": 1 - right / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "wspace": gap / each_width,
            "hspace": gap / each_height,
        },
    )
    return figure, list(axes.flatten())


def draw(axis: matplotlib.axes.Axes, line: Line, width: float = 1.8, alpha: float = 1.0) -> None:
    """Add a line; of a single point a dot."""
    curve = thinned(line.curve)
    marker = "o" if len(curve.steps) < 2 else None
    (drawn,) = axis.plot(curve.steps, curve.values, line.dash, color=line.colour, marker=marker)
    drawn.set(linewidth=width, alpha=alpha)


def step_ticks(count: int) -> MaxNLocator:
    """Round numbers of updates."""
    return MaxNLocator(count, integer=True, steps=[1, 2, 2.5, 5, 10])


def thinned(curve: Curve) -> Curve:
    """At most :data:`MAX_POINTS` points, each the mean of neighbours."""
    size = -(-len(curve.steps) // MAX_POINTS)
    if size <= 1:
        return curve
    whole = len(curve.steps) // size * size
    return Curve(
        curve.steps[:whole].reshape(-1, size).mean(axis=1),
        curve.values[:whole].reshape(-1, size).mean(axis=1),
    )


def _leave_out_the_start(axis: matplotlib.axes.Axes, panel: SmallPanel) -> None:
    """Scale by what follows the first twentieth of the steps, where losses fall from far above."""
    kept = [panel.threshold] if panel.threshold is not None else []
    for line in panel.lines:
        steps, values = line.curve.steps, line.curve.values
        late = values[steps >= 0.05 * steps.max()]
        kept += [late.min(), late.max()]
    if not kept:
        return
    low, high = min(kept), max(kept)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    axis.set_ylim(low - margin, high + margin)


__all__ = [
    "BAD",
    "DASHES",
    "FAINT",
    "GOOD",
    "GRID",
    "INK",
    "PAPER",
    "SERIES",
    "Figure",
    "Line",
    "SmallPanel",
    "draw",
    "new_figure",
    "page_style",
    "small_panels",
    "step_ticks",
    "thinned",
    "to_svg",
]
