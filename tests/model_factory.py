"""Small models and batches for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from lawm.batch import Batch
from lawm.spec import DataSpec, ObservationSpec
from lawm.world_model import WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

OBS_DIM, ACTION_DIM = 5, 2
IMAGE_SHAPE = (16, 24, 3)
SMALL = {"deter": 16, "hidden": 16, "embed": 16, "stoch": 4, "latent_action": 3}

VARIANTS: dict[str, dict[str, Any]] = {
    "action": {},
    "latent": {"transition_input": "latent"},
    "action_categorical": {"stoch_kind": "categorical", "latent_action_kind": "categorical"},
    "masked_action": {"transition_input": "masked_action"},
    "latent_categorical": {"transition_input": "latent", "latent_action_kind": "categorical"},
}


def make_spec(images: tuple[str, ...] = (), states: bool = True) -> DataSpec:
    """States, and images of 16 x 24 pixels by these keys."""
    state = ObservationSpec((OBS_DIM,), "state", *((x,) * OBS_DIM for x in (0.0, 1.0, 0.5)))
    observations = {key: ObservationSpec(IMAGE_SHAPE, "image") for key in images}
    if states:
        observations["state"] = state
    return DataSpec(observations, (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM)


def make_model(seed: int = 0, spec: DataSpec | None = None, **config: Any) -> WorldModel:
    torch.manual_seed(seed)
    return WorldModel(spec or make_spec(), WorldModelConfig(**(SMALL | config)))


def make_world_model_module(variant: str = "action", **settings: Any) -> WorldModelModule:
    torch.manual_seed(0)
    config = WorldModelConfig(**(SMALL | VARIANTS[variant]))
    return WorldModelModule(make_spec(), config, **settings)


def loss_of(module: WorldModelModule, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """With the same random numbers every time."""
    torch.manual_seed(1)
    return module.compute_loss(batch)


def add_images(batch: Batch, *keys: str, seed: int = 0) -> Batch:
    """The same batch with random images beside the states."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch.obs["state"].shape[:2], *IMAGE_SHAPE)
    images = {
        key: torch.randint(256, shape, generator=generator, dtype=torch.uint8) for key in keys
    }
    return dataclasses.replace(batch, obs=images | batch.obs)


def make_batch(
    rows: int = 6, labelled: int = 3, window: int = 7, seed: int = 0, all_rewards: bool = False
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rewarded = rows if all_rewards else labelled  # others have no place for one
    reward = torch.randn(rows, window, generator=generator)[:rewarded]
    return Batch(
        obs={"state": torch.randn(rows, window + 1, OBS_DIM, generator=generator)},
        action=torch.rand(labelled, window, ACTION_DIM, generator=generator) * 2 - 1,
        reward=reward,
        terminated=torch.zeros(rows, window),
        has_reward=torch.ones(rewarded, dtype=torch.bool),
    )


def disturbed(module):
    """Away from the initial weights, where many gradients are zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module
