"""Small models and batches for tests."""

from __future__ import annotations

from typing import Any

import torch

from lawm.batch import Batch
from lawm.spec import DataSpec, ObservationSpec
from lawm.world_model import WorldModel, WorldModelConfig

OBS_DIM, ACTION_DIM = 5, 2
SMALL = {"deter": 16, "hidden": 16, "embed": 16, "stoch": 4, "latent_action": 3}

VARIANTS: dict[str, dict[str, Any]] = {
    "action": {},
    "latent": {"transition_input": "latent"},
    "action_categorical": {"stoch_kind": "categorical", "latent_action_kind": "categorical"},
    "masked_action": {"transition_input": "masked_action"},
    "latent_categorical": {"transition_input": "latent", "latent_action_kind": "categorical"},
}


def make_spec() -> DataSpec:
    state = ObservationSpec((OBS_DIM,), "state", (0.0,) * OBS_DIM, (1.0,) * OBS_DIM)
    return DataSpec({"state": state}, (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM)


def make_model(seed: int = 0, **config: Any) -> WorldModel:
    torch.manual_seed(seed)
    return WorldModel(make_spec(), WorldModelConfig(**(SMALL | config)))


def make_batch(
    rows: int = 6, labelled: int = 3, window: int = 7, seed: int = 0, all_rewards: bool = False
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    has_reward = torch.arange(rows) < (rows if all_rewards else labelled)
    reward = torch.randn(rows, window, generator=generator)
    return Batch(
        obs={"state": torch.randn(rows, window + 1, OBS_DIM, generator=generator)},
        action=torch.rand(labelled, window, ACTION_DIM, generator=generator) * 2 - 1,
        reward=reward * has_reward[:, None],
        terminated=torch.zeros(rows, window),
        has_reward=has_reward,
    )
