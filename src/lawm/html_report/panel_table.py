"""The numbers of the latent-action panel beside the thresholds of its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lawm.html_report.run_files import number, numbers
from lawm.panel import ACTIVE_NATS, Thresholds, VerdictName

VERDICTS: tuple[str, ...] = get_args(VerdictName)


@dataclass(frozen=True)
class PanelRow:
    """A number of the panel."""

    name: str
    value: str
    threshold: str  # "" where none decides
    passes: bool | None  # None where no threshold decides
    meaning: str


def panel_verdict(panel: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict and its reason as they were written; "unknown" for what is none of them."""
    name, reason = panel.get("verdict"), panel.get("reason")
    known = name if isinstance(name, str) and name in VERDICTS else "unknown"
    return known, reason if isinstance(reason, str) else ""


def panel_rows(panel: Mapping[str, Any]) -> list[PanelRow]:
    """The numbers in the order in which the verdict looks at them."""
    limits = Thresholds()
    inverse, action = numbers(panel.get("rate_inverse")), numbers(panel.get("rate_action"))
    active = sum(rate > ACTIVE_NATS for rate in inverse)
    rows = [
        PanelRow(
            "active dimensions",
            f"{active} of {len(inverse)}" if inverse else "unknown",
            "at least 1",
            active > 0 if inverse else None,
            f"Dimensions of the latent action that carry more than {ACTIVE_NATS:g} nats a step; "
            "with none it has collapsed.",
        )
    ]
    tested = (
        (
            "shuffled ratio",
            "shuffled_ratio",
            limits.least_shuffled_ratio,
            "Open-loop error with another trajectory's latent actions, divided by that with its "
            "own. At 1 the model does not listen to them: collapsed.",
        ),
        (
            "error ratio",
            "error_ratio",
            limits.least_error_ratio,
            "Open-loop error with inferred latent actions, divided by that with the true actions. "
            "About 1 is right; far below, they tell more than an action can: leaking.",
        ),
        (
            "R² of the action, from the frames",
            "action_r2_inverse",
            limits.least_action_r2,
            "Share of the actions' variance that is decoded from latent actions inferred from "
            "observations alone; below, not decoded.",
        ),
    )
    for name, key, least, meaning in tested:
        value = number(panel.get(key))
        passes = None if value is None else value >= least
        rows.append(PanelRow(name, _text(value), f"at least {least:g}", passes, meaning))
    untested = (
        (
            "R² of the action, from the action",
            number(panel.get("action_r2_action")),
            "The same where the latent action was inferred from the true action: the most that the "
            "decoder can give.",
        ),
        (
            "rate from the frames, nats a step",
            sum(inverse) if inverse else None,
            "What inferred latent actions carry in all; close to the next line is right.",
        ),
        (
            "rate from the action, nats a step",
            sum(action) if action else None,
            "What latent actions carry that were inferred from true actions.",
        ),
        (
            "open-loop error",
            number(panel.get("open_loop_error")),
            "Squared error over variance, with inferred latent actions; 1 is the mean of the data.",
        ),
        (
            "copy of the last frame",
            number(panel.get("copy_last_frame_error")),
            "The same error without any model; the line above should be far below it.",
        ),
    )
    rows += [PanelRow(name, _text(value), "", None, text) for name, value, text in untested]
    return rows


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


__all__ = ["VERDICTS", "PanelRow", "panel_rows", "panel_verdict"]
