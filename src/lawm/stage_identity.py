"""Which inputs a stage's weights depend on: what makes a checkpoint reusable, and what does not.

A stage is identified by its *inputs*, a flat dictionary of dotted configuration keys. Their digest
is the fingerprint; comparing two dictionaries names the keys that differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from lawm.fit_config import FitConfig, StageName

CHECKPOINT_FORMAT = 1  # raised when older checkpoints can no longer be continued

# Where the files lie and how they are read does not matter; what is in them is told by the data
# fingerprint.
ACCESS_KEYS = ("shards", "action_free_shards", "storage", "workers", "cache_dir", "verify")
# A stopped stage may be continued to another length; a finished one is what it is.
_LENGTH_KEYS = ("max_steps",)
# Settings that older runs do not know, with the value at which a run is as theirs were.
_ADDED = {
    "policy.advantage_temperature": None,
    "policy.disagreement_quantile": None,
    "policy.prior_distance": 0.0,
    "policy.trials": 1,
    "policy.trial_steps": 100,
    "world_model.model.free_running_share": 0.0,
    "world_model.model.reward_unit": None,
    "world_model.options.labelled_warmup_steps": 0,
    "world_model.options.share_weights": False,
}
# Of these, what no fingerprint has ever counted at that value
_NOT_IN_FINGERPRINTS = (
    "policy.advantage_temperature",
    "policy.disagreement_quantile",
    "world_model.model.reward_unit",
    "world_model.options.labelled_warmup_steps",
    "world_model.options.share_weights",
)


def inverse_dynamics_inputs(config: FitConfig, data_fingerprint: str) -> dict[str, Any]:
    """Inputs of the inverse dynamics that pseudo-labels come from."""
    return _on_data(config, "inverse_dynamics", config.inverse_dynamics, data_fingerprint, None)


def world_model_inputs(
    config: FitConfig, data_fingerprint: str, labeller_fingerprint: str | None = None
) -> dict[str, Any]:
    """Inputs of stage 1, those of the pseudo-labels included if there are any."""
    inputs = _on_data(
        config, "world_model", config.world_model, data_fingerprint, labeller_fingerprint
    )
    return inputs | _own_module(config, "world_model")


def cloning_inputs(
    config: FitConfig, data_fingerprint: str, labeller_fingerprint: str | None = None
) -> dict[str, Any]:
    """Inputs of a policy that is cloned from the data, those of the pseudo-labels included."""
    cloning = {"cloning": config.cloning}
    return _on_data(config, "policy", cloning, data_fingerprint, labeller_fingerprint)


def policy_inputs(config: FitConfig, world_model_fingerprint: str) -> dict[str, Any]:
    """Inputs of stage 2: its own settings and the world model that it is trained in."""
    return _plain(
        {
            "format": CHECKPOINT_FORMAT,
            "seed": config.seed_of("policy"),
            "world_model.fingerprint": world_model_fingerprint,
            **_dotted("policy", read_by_policy(config.policy)),
            **_dotted("start_states", config.start_states),
            **_optimisation(config, "policy"),
            **_own_module(config, "policy"),
        }
    )


def fingerprint(inputs: dict[str, Any]) -> str:
    """Digest of the inputs, 16 hexadecimal digits."""
    counted = {
        key: value
        for key, value in inputs.items()
        if key not in _NOT_IN_FINGERPRINTS or value != _ADDED[key]
    }
    text = json.dumps(counted, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(
    there: dict[str, Any], here: dict[str, Any], *, ignore_length: bool = False
) -> list[str]:
    """The keys that differ, each as "key (1 there, 2 here)".

    Args:
        there: Inputs that a checkpoint was trained with.
        here: Inputs that are asked for now.
        ignore_length: Whether the number of steps may differ.
    """
    keys = sorted(there.keys() | here.keys())
    if ignore_length:
        keys = [key for key in keys if key.rsplit(".", 1)[-1] not in _LENGTH_KEYS]
    values = {key: (_value(there, key), _value(here, key)) for key in keys}
    return [f"{key} ({old} there, {new} here)" for key, (old, new) in values.items() if old != new]


def unknown_to(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the configuration of an older run lacks, by dotted key, as that run had them.

    Today's defaults would make another run of it.
    """
    found = {}
    for key, value in _ADDED.items():
        *groups, name = key.split(".")
        group: Any = config
        for part in groups:
            group = group.get(part) if isinstance(group, Mapping) else None
        if isinstance(group, Mapping) and name not in group:
            found[key] = value
    return found


def read_by_policy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of stage 2 without those that another one switches off."""
    off = settings.get("advantage_temperature") is None
    return {k: v for k, v in settings.items() if not (off and k == "advantage_updates")}


def as_older_runs_tell(group: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a group, without additions at which a run is as those before them."""
    return {k: v for k, v in settings.items() if _ADDED.get(f"{group}.{k}", "no addition") != v}


def _value(inputs: dict[str, Any], key: str) -> Any:  # noqa: ANN401
    return inputs.get(key, _ADDED.get(key, "absent"))


def _on_data(
    config: FitConfig,
    stage: StageName,
    settings: dict[str, Any],
    data_fingerprint: str,
    labeller_fingerprint: str | None,
) -> dict[str, Any]:
    data = {key: value for key, value in config.data.items() if key not in ACCESS_KEYS}
    inputs = {
        "format": CHECKPOINT_FORMAT,
        "seed": config.seed_of(stage),
        "data.content": data_fingerprint,
        **_dotted("data", data),
        **_dotted(stage, settings),
        **_optimisation(config, stage),
    }
    if labeller_fingerprint is not None:
        inputs["inverse_dynamics.fingerprint"] = labeller_fingerprint
    return _plain(inputs)


def _optimisation(config: FitConfig, stage: StageName) -> dict[str, Any]:
    stage_config = config.stages[stage]
    effective = {**config.trainer, **stage_config.trainer_arguments()}
    names = ("max_steps", "gradient_clip_val", "accumulate_grad_batches", "precision")
    return {f"stages.{stage}.{name}": effective.get(name) for name in names}


def _own_module(config: FitConfig, stage: StageName) -> dict[str, Any]:
    """The class of the user's, where one is trained; runs of lawm's own count none."""
    name = config.stages[stage].module
    return {} if name is None else {f"stages.{stage}.module": name}


def _dotted(group: str, values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{group}.{name}"
        if is_dataclass(value) and not isinstance(value, type):
            flat |= _dotted(key, asdict(value))
        elif isinstance(value, dict):
            flat |= _dotted(key, value)
        else:
            flat[key] = value
    return flat


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON or a checkpoint: lists for tuples, strings for paths."""
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


__all__ = [
    "ACCESS_KEYS",
    "CHECKPOINT_FORMAT",
    "as_older_runs_tell",
    "cloning_inputs",
    "differences",
    "fingerprint",
    "inverse_dynamics_inputs",
    "policy_inputs",
    "read_by_policy",
    "unknown_to",
    "world_model_inputs",
]
