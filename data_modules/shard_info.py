"""What a shard holds: a table, and a histogram of the returns as text or as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lawm.data_modules.shard_file import ShardArray
from lawm.data_modules.shard_reader import OpenShard
from lawm.errors import LawmError
from lawm.return_number import return_decimals

BARS = " ▏▎▍▌▋▊▉█"  # eighths of a character
TEXT_BINS = 12
TEXT_WIDTH = 40  # characters of the longest bar
PLOT_BINS = 30


def describe(shard: OpenShard) -> RenderableType:
    """Everything worth knowing of a shard, for a terminal."""
    table = Table("", str(shard.path), show_header=True, title_justify="left")
    for name, value in facts(shard).items():
        table.add_row(name, Text(value))
    returns = known_returns(shard)
    if returns.size == 0:
        return table
    return Group(table, Text(text_histogram(returns)))


def facts(shard: OpenShard) -> dict[str, str]:
    """Each row of the table, by its name."""
    meta, episodes = shard.meta, shard.episodes
    lengths, returns = episodes.lengths, known_returns(shard)
    megabytes = shard.path.stat().st_size / 1e6
    rows = {
        "size": f"{megabytes:.2f} MB, format version {meta.version}",
        "environment": meta.env_id or "unknown",
        "time": _time(meta.action_repeat, meta.control_timestep),
        "episodes": f"{episodes.num_episodes} of {_range(lengths)} transitions",
        "transitions": f"{lengths.sum():,}",
        "with actions": f"{episodes.has_action.sum()} episodes",
        "with rewards": f"{episodes.has_reward.sum()} episodes",
        "ends": f"{_count(shard, 'terminated')} terminated, {_count(shard, 'truncated')} truncated",
    }
    rows |= {f"obs/{key}": _kind(values) for key, values in shard.obs.items()}
    if meta.renderer is not None:
        rows["renderer"] = f"{meta.renderer} ({meta.renderer.backend or 'unknown backend'})"
    if action := shard.arrays.get("action"):
        bounds = f"{meta.action_low.min():g} to {meta.action_high.max():g}"
        rows["action"] = f"{_kind(action)}, bounds {bounds}"
    if physics := shard.arrays.get("physics"):
        rows["physics"] = _kind(physics)
    if returns.size:
        rows["returns"] = summarise_returns(returns)
    rows |= _provenance(meta.provenance)
    rows["checksum"] = f"{meta.checksum[:16]}… verified"
    return rows


def known_returns(shard: OpenShard) -> NDArray[np.float64]:
    """The returns of the episodes that have rewards."""
    return shard.episodes.episode_return[shard.episodes.has_reward]


def summarise_returns(returns: Sequence[float] | NDArray[np.float64]) -> str:
    """The spread of some returns (at least one) in a line."""
    low, median, high, best = np.quantile(returns, [0.0, 0.5, 0.9, 1.0])
    places = return_decimals(max(abs(low), abs(best)))
    return (
        f"min {low:.{places}f}, median {median:.{places}f}, 90 % {high:.{places}f}, "
        f"best {best:.{places}f}; mean {np.mean(returns):.{places}f}"
    )


def text_histogram(values: NDArray[np.float64], bins: int = TEXT_BINS) -> str:
    """One line per bin: its lower edge, its count and a bar.

    Args:
        values: (n,) with n at least 1.
        bins: How many, between the smallest value and the largest.
    """
    counts, edges = np.histogram(values, bins=bins)
    lines, places = ["return  episodes"], return_decimals(np.abs(values).max())
    for count, edge in zip(counts, edges[:-1], strict=True):
        eighths = round(8 * TEXT_WIDTH * count / counts.max())
        bar = BARS[8] * (eighths // 8) + BARS[eighths % 8]
        lines.append(f"{edge:8.{places}f} {count:5d} {bar}".rstrip())
    return "\n".join(lines)


def plot_returns(shards: list[OpenShard], path: Path) -> None:
    """Write the histograms of the returns of some shards into one picture.

    Args:
        shards: One or more.
        path: The file; its ending chooses the kind, such as ``.png`` or ``.pdf``.

    Raises:
        LawmError: No episode has rewards, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with_returns = [shard for shard in shards if known_returns(shard).size]
    if not with_returns:
        raise LawmError(f"{shards[0].path} has no rewards, so there are no returns to plot.")
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="return", ylabel="episodes")
    edges = np.histogram_bin_edges(
        np.concatenate([known_returns(shard) for shard in with_returns]), bins=PLOT_BINS
    )
    for shard in with_returns:
        axes.hist(known_returns(shard), bins=edges.tolist(), alpha=0.6, label=shard.path.name)
    axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise LawmError(f"The plot {path} cannot be written: {error}.") from error


def _time(action_repeat: int, control_timestep: float) -> str:
    step = f"{control_timestep:g} s" if control_timestep else "unknown"
    return f"action repeat {action_repeat}, control timestep {step}"


def _range(lengths: NDArray[np.int64]) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return str(low) if low == high else f"{low} to {high}"


def _kind(array: ShardArray) -> str:
    return f"{array.dtype} {array.step_shape}"


def _count(shard: OpenShard, flags: str) -> int:
    return sum(int(rows.sum()) for _, rows in shard.arrays[flags].blocks())


def _provenance(provenance: dict[str, Any]) -> dict[str, str]:
    rows: dict[str, str] = {
        name: str(provenance[name]) for name in ("command", "date", "seed") if name in provenance
    }
    versions = provenance.get("versions")
    if isinstance(versions, dict):
        rows["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    if provenance.get("interrupted"):
        rows["interrupted"] = "by Ctrl-C; the whole episodes until then"
    return rows


__all__ = [
    "describe",
    "facts",
    "known_returns",
    "plot_returns",
    "summarise_returns",
    "text_histogram",
]
