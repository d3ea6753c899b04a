"""A small world model behind its Python interface, and trajectories for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from model_factory import VARIANTS, add_images, make_batch, make_model, make_spec

from lawm.trained_world_model import TrainedWorldModel

ROWS, T = 3, 7
LOW, HIGH = np.array([0.0, 10.0]), np.array([4.0, 30.0])


def wide_spec(**options):
    """Bounds of actions that differ from the model's own."""
    return dataclasses.replace(
        make_spec(**options), action_low=tuple(LOW.tolist()), action_high=tuple(HIGH.tolist())
    )


def scrambled(model):
    """Heads that start at zero, and the prior's deviations, say something as well."""
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if "output" in name or "head" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def make(variant="action", images=(), states=True, **config):
    spec = wide_spec(images=images, states=states)
    return TrainedWorldModel(scrambled(make_model(spec=spec, **VARIANTS[variant], **config)))


BATCH = make_batch(rows=ROWS, labelled=ROWS, window=T)
OBS = {"state": BATCH.obs["state"].numpy()}
ACTION = LOW + (BATCH.action.numpy() + 1.0) / 2.0 * (HIGH - LOW)  # in units, float64


def chosen(model, seed=0):
    """Latent actions of one trajectory that the model takes, (ROWS, T, U)."""
    latent = model.model.latent_action.latent
    generator = torch.Generator().manual_seed(seed)
    params = torch.randn(ROWS, T, latent.num_params, generator=generator)
    return latent.mode(params).numpy()


def pictures():
    return {k: v.numpy() for k, v in add_images(BATCH, "camera").obs.items() if k == "camera"}
