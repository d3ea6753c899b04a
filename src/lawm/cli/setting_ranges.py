"""Which values the numbers of `lawm fit` may have, so that a slip costs one sentence.

Settings of the data, of the stages and of evaluation, and a few whose meaning only the part that
reads them knows, are checked where they are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lawm.errors import LawmError

GROUPS = ("inverse_dynamics", "world_model", "policy", "cloning", "start_states")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; an end that is ``open`` is not one of them."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is finite and in the range."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"from {self.low:g}"
        if math.isinf(self.high):
            return low
        return f"{low} {'and below' if self.open_high else 'to'} {self.high:g}"


COUNT = Range(1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, open_low=True)
SHARE = Range(0, 1)
POSITIVE_SHARE = Range(0, 1, open_low=True)
DROPOUT = Range(0, 1, open_high=True)

RANGES = {
    # sizes
    **dict.fromkeys(("deter", "hidden", "embed", "num_layers", "batch_size", "horizon"), COUNT),
    **dict.fromkeys(("stoch", "latent_action"), COUNT),
    **dict.fromkeys(("stoch_classes", "latent_action_classes"), Range(2)),
    # dropout and deviations
    **dict.fromkeys(("dropout", "action_dropout", "feature_dropout", "reward_dropout"), DROPOUT),
    **dict.fromkeys(
        ("action_min_std", "action_max_std", "inverse_max_std", "reward_std"), POSITIVE
    ),
    "reward_unit": POSITIVE,
    # the loss of stage 1
    **dict.fromkeys(("observation", "reward", "continuation", "state_kl"), NOT_NEGATIVE),
    **dict.fromkeys(("action", "align_action", "align_kl"), NOT_NEGATIVE),
    "labelled_warmup_steps": NOT_NEGATIVE,
    **dict.fromkeys(("labelled_weight", "action_free_weight", "free_nats"), NOT_NEGATIVE),
    **dict.fromkeys(("kl_balance", "inverse_kl_gradient", "inverse_gradient"), SHARE),
    "free_running_share": SHARE,
    "beta": NOT_NEGATIVE,
    "target": POSITIVE,
    # stage 2
    "gamma": Range(0, 1, open_high=True),
    "lambda_": SHARE,
    **dict.fromkeys(("entropy", "prior_weight", "prior_distance"), NOT_NEGATIVE),
    **dict.fromkeys(("target_rate", "disagreement_quantile"), POSITIVE_SHARE),
    "continued_share": SHARE,
    **dict.fromkeys(("advantage_updates", "continued_steps", "trials", "trial_steps"), COUNT),
    **dict.fromkeys(("advantage_temperature", "gradient_clip"), POSITIVE),
    # optimisers and schedules
    **dict.fromkeys(("learning_rate", "dual_learning_rate"), POSITIVE),
    "deviation_learning_rate": POSITIVE,
    **dict.fromkeys(("weight_decay", "warmup_steps"), NOT_NEGATIVE),
    "cooldown": SHARE,
}
"""By the last word of the key, which means the same in every group."""


def check_ranges(settings: dict[str, Any]) -> None:
    """Refuse a number that is out of its range.

    Args:
        settings: All settings as nested dicts.

    Raises:
        LawmError: Names the key, the value and what was expected.
    """
    for group in GROUPS:
        _check(group, settings[group])
    model = settings["world_model"]["model"]
    least = model["action_min_std"]
    for name in ("action_max_std", "inverse_max_std"):
        if least > model[name]:
            raise LawmError(
                f"world_model.model.action_min_std is {least}, more than {name}, {model[name]}: a "
                "deviation of decoded actions lies between the two. Lower one or raise the other."
            )
    options = settings["world_model"]["options"]
    _check_warmup(
        options["labelled_warmup_steps"],
        options["labelled_weight"],
        settings["stages"]["world_model"]["max_steps"],
    )


def _check_warmup(steps: int, labelled_weight: float, max_steps: int) -> None:
    key = "world_model.options.labelled_warmup_steps"
    if steps and labelled_weight == 0.0:
        raise LawmError(
            f"{key} is {steps}, but world_model.options.labelled_weight is 0: nothing would train "
            "in these updates. Set one of the two to another value."
        )
    if steps and steps >= max_steps:
        raise LawmError(
            f"{key} is {steps}, and stages.world_model.max_steps is {max_steps}: no action-free "
            "trajectory would ever be trained on. Lower it, or raise max_steps."
        )


def _check(key: str, value: Any) -> None:  # noqa: ANN401 (whatever a setting may be)
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(f"{key}.{name}", inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        allowed = RANGES.get(key.rpartition(".")[2])
        if allowed is not None and not allowed.holds(value):
            kind = "whole number" if isinstance(value, int) else "number"
            raise LawmError(f"{key} is {value}; expected a {kind} {allowed}.")


__all__ = ["RANGES", "check_ranges"]
