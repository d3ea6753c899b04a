"""The latent-action panel: does the latent action carry the action, and nothing but the action?

Measured on held-out labelled trajectories, which training never saw. The thresholds of the verdict
are our own; ``tests/test_panel.py`` holds them against a model that was made to collapse, one that
was made to leak, and a good one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.functional import r2_score

from lawm.batch import Batch
from lawm.decoded_actions import decoded_actions
from lawm.open_loop import DrivenBy, last_frame, open_loop, standardised_error, targets
from lawm.state_probe import linear_probe
from lawm.world_model import Observed, WorldModel

VerdictName = Literal["usable", "collapsed", "leaking", "not decoded", "not judged"]
BASELINE = "last frame"
DRIVEN_BY: tuple[DrivenBy, ...] = ("inverse", "action", "prior", "shuffled")
ACTIVE_NATS = 0.05  # a dimension of u whose rate is above this many nats a step carries something


@dataclass(frozen=True)
class Thresholds:
    """What separates the verdicts.

    Args:
        least_shuffled_ratio: Below it the model does not listen to u.
        least_error_ratio: Open-loop error under inferred latent actions, divided by that under
            the true actions. Below it u tells the model more than the action could.
        least_action_r2: Below it the decoder cannot read the action out of u.
        least_known_r2: The same of q_act, which is told the action: below it u, or the decoder, has
            lost what more labels would not bring back.
    """

    least_shuffled_ratio: float = 1.15
    least_error_ratio: float = 0.6
    least_action_r2: float = 0.4
    least_known_r2: float = 0.75


@dataclass(frozen=True)
class PanelFigures:
    """What the panel measured; means over all steps of all windows."""

    action_r2_inverse: float  # of actions decoded from the mode of q_free
    action_r2_action: float  # of actions decoded from the mode of q_act
    rate_inverse: tuple[float, ...]  # KL(q_free || p) of each part of u, nats a step
    rate_action: tuple[float, ...]  # KL(q_act || p) of each part of u
    shuffled_ratio: float
    """Open-loop error with u of another window, over that with its own; NaN if there is one alone.
    """
    error_ratio: float  # open-loop error with inferred u, over that with the true actions
    open_loop_error: float  # squared error over variance, with inferred u
    copy_last_frame_error: float
    probe_r2: dict[str, float] = field(default_factory=dict)
    """Of each state that the data have and the model does not see, read linearly from s."""

    @property
    def active_parts(self) -> int:
        """Dimensions (or categoricals) of u that carry more than :data:`ACTIVE_NATS`."""
        return sum(nats > ACTIVE_NATS for nats in self.rate_inverse)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"active_parts": self.active_parts}


@dataclass(frozen=True)
class Panel:
    """Figures, and the errors by horizon and predictions that they come from."""

    figures: PanelFigures
    errors: dict[str, Tensor]  # each (T - context,), squared error over variance
    drawn_key: str | None  # the first state; None if the model sees images alone
    predicted: dict[DrivenBy, Tensor]  # that key of the first window, (T - context, D)


@dataclass(frozen=True)
class Verdict:
    """One word and its reason."""

    name: VerdictName
    reason: str

    def __str__(self) -> str:
        return f"Latent action: {self.name}. {self.reason}"


def verdict(figures: PanelFigures, thresholds: Thresholds = Thresholds()) -> Verdict:
    """Judge the latent action.

    Collapse is looked for first (an ignored u cannot leak), then leakage, then whether the decoder
    can read the action.
    """
    f, t = figures, thresholds
    parts = f"{f.active_parts} of {len(f.rate_inverse)} dimensions active"
    if f.active_parts > 0 and math.isnan(f.shuffled_ratio):
        return Verdict(
            "not judged",
            f"One held-out window has no other to take latent actions from ({parts}). Raise "
            "data.held_out, or lower data.window.",
        )
    if f.active_parts == 0 or f.shuffled_ratio < t.least_shuffled_ratio:
        return Verdict(
            "collapsed",
            f"The model predicts as well with another trajectory's latent actions (error ratio "
            f"{f.shuffled_ratio:.2f}, {parts}). Lower the weight of its KL, or give more labels.",
        )
    if f.error_ratio < t.least_error_ratio:
        return Verdict(
            "leaking",
            f"Inferred latent actions predict the future better than the true actions do (error "
            f"ratio {f.error_ratio:.2f}): they carry more than an action. Raise the weight of "
            "their KL, or use fewer dimensions.",
        )
    if not f.action_r2_inverse >= t.least_action_r2:  # NaN too
        what_to_do = (
            "Give more labels, or raise the weight of the alignment."
            if f.action_r2_action >= t.least_known_r2
            else f"Nor are known ones ({f.action_r2_action:.2f}): lower the weights of the "
            "alignment, world_model.coefficients.align_action and align_kl, or of the KL."
        )
        return Verdict(
            "not decoded",
            f"The latent action moves the model (shuffled: {f.shuffled_ratio:.2f} times the error) "
            f"but actions are not read from it (held-out R² {f.action_r2_inverse:.2f}). "
            f"{what_to_do}",
        )
    return Verdict(
        "usable",
        f"Held-out R² of the action {f.action_r2_inverse:.2f}, shuffled: {f.shuffled_ratio:.2f} "
        f"times the error, {parts}.",
    )


@torch.no_grad()
def measure(model: WorldModel, batch: Batch, context: int) -> Panel:
    """Measure a model.

    Args:
        model: The world model; its random numbers are drawn from torch's generator.
        batch: Windows of T transitions, all of them labelled.
        context: Steps that are filtered before open-loop prediction starts, in [0, T).
    """
    assert batch.num_labelled == batch.num_rows, (batch.num_labelled, batch.num_rows)
    observed, free = model.observe(batch), model.observe(batch.action_free())
    truth = targets(model, batch, observed)
    inferring = replace(observed, inverse_posterior=free.inverse_posterior)
    states = [key for key, item in model.spec.observations.items() if item.kind == "state"]
    drawn_key = next(iter(states), None)
    errors: dict[str, Tensor] = {}
    predicted: dict[DrivenBy, Tensor] = {}
    for driven_by in DRIVEN_BY:
        prediction = open_loop(model, batch, inferring, context, driven_by).observation
        errors[driven_by] = standardised_error(model, prediction, truth, context).cpu()
        if drawn_key is not None:
            predicted[driven_by] = prediction[drawn_key][:, 0].cpu()
    baseline = last_frame(truth, context)
    errors[BASELINE] = standardised_error(model, baseline, truth, context).cpu()
    mean = {name: float(error.mean()) for name, error in errors.items()}
    figures = PanelFigures(
        *_action_r2(model, batch, observed, free),
        *_rates(model, observed, free),
        shuffled_ratio=mean["shuffled"] / mean["inverse"] if batch.num_rows > 1 else math.nan,
        error_ratio=mean["inverse"] / mean["action"],
        open_loop_error=mean["inverse"],
        copy_last_frame_error=mean[BASELINE],
        probe_r2=_probe_r2(batch, observed),
    )
    return Panel(figures, errors, drawn_key, predicted)


def _action_r2(
    model: WorldModel, batch: Batch, observed: Observed, free: Observed
) -> tuple[float, float]:
    """Of the actions decoded from the modes of q_free and q_act."""
    target = batch.action.transpose(0, 1).flatten(0, 1)
    return tuple(  # type: ignore[return-value]
        float(r2_score(decoded.flatten(0, 1), target, multioutput="variance_weighted"))
        for decoded in decoded_actions(model, observed, free)
    )


def _probe_r2(batch: Batch, observed: Observed) -> dict[str, float]:
    """Of each episode from a regression on the others; of each window where all are of one."""
    if batch.num_rows < 2:
        return {}
    group = torch.arange(batch.num_rows)
    if batch.source is not None:
        episode = batch.source[:, 0].cpu()
        group = episode if bool((episode != episode[0]).any()) else group
    steps = observed.features.shape[0]
    features = observed.features.transpose(0, 1).flatten(0, 1)
    group = group.repeat_interleave(steps).to(features.device)
    return {
        key: linear_probe(features, state.flatten(0, 1), group)
        for key, state in batch.probe.items()
    }


def _rates(
    model: WorldModel, observed: Observed, free: Observed
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """KL from the prior of each part of u, for q_free and q_act."""
    latent = model.latent_action.latent
    return tuple(  # type: ignore[return-value]
        tuple(latent.kl(params, prior).mean(dim=(0, 1)).tolist())
        for params, prior in (
            (free.inverse_posterior, free.action_prior),
            (observed.action_posterior, observed.action_prior),
        )
    )


__all__ = [
    "ACTIVE_NATS",
    "BASELINE",
    "DRIVEN_BY",
    "Panel",
    "PanelFigures",
    "Thresholds",
    "Verdict",
    "measure",
    "verdict",
]
