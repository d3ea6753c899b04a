"""Open-loop prediction: filter a few steps, then predict the rest without seeing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lawm.batch import Batch
from lawm.rssm import ModelState
from lawm.world_model import Observed, WorldModel

DrivenBy = Literal["inverse", "action", "shuffled", "prior"]


@dataclass(frozen=True)
class OpenLoop:
    """Predictions for the steps after the context, time first."""

    observation: dict[str, Tensor]  # each (T - context, B, *shape), in the data's units
    reward: Tensor  # (T - context, B)


def open_loop(
    model: WorldModel, batch: Batch, observed: Observed, context: int, driven_by: DrivenBy
) -> OpenLoop:
    """Predict ``o_{context + 1} .. o_T`` from the posterior state at ``context``.

    Args:
        model: The world model.
        batch: Windows whose rows are all labelled.
        observed: ``model.observe(batch)``: where the inferred latent actions come from.
        context: Steps that are filtered, in [0, T).
        driven_by: What moves the model: ``inverse``, the mode of q_free, which looked at the
            steps one by one; ``action``, q_act's mode (latent input) or the true action (action
            input); ``shuffled``, q_free's of another row of the batch; ``prior``, p(u|s)'s mode.

    Returns:
        The heads' means, with z at the prior's mode.
    """
    latent, latent_action = model.rssm.latent, model.latent_action
    rssm, step = model.rssm.bind(), latent_action.bind()
    inverse = latent_action.latent.mode(observed.inverse_posterior)
    if driven_by == "shuffled":
        inverse = inverse.roll(1, dims=1)
    known = latent_action.latent.mode(observed.action_posterior)
    action = batch.action.transpose(0, 1)
    state = ModelState(observed.h[context], observed.z[context])
    features = []
    for t in range(context, action.shape[0]):
        if driven_by == "action":
            u, decoded = known[t], action[t]
        else:
            prior = driven_by == "prior"
            u = (
                latent_action.latent.mode(latent_action.prior(state.features))
                if prior
                else inverse[t]
            )
            decoded = step.decode(state.features, u)
        h = rssm.recur(state.h, state.z, model.transition_input.act(u, decoded))
        state = ModelState(h, latent.mode(model.rssm.prior(h)))
        features.append(state.features)
    stacked = torch.stack(features)
    return OpenLoop(model.observation_decoder(stacked), model.reward(stacked))


def standardised_error(
    model: WorldModel, predicted: dict[str, Tensor], batch: Batch, context: int
) -> Tensor:
    """Mean squared error by horizon, ``(T - context,)``, states in standard deviations."""
    errors = []
    for key, spec in model.spec.observations.items():
        std = predicted[key].new_tensor(spec.std)
        truth = batch.obs[key].transpose(0, 1)[context + 1 :]
        errors.append(((predicted[key] - truth) / std).square().flatten(1).mean(dim=1))
    return torch.stack(errors).mean(dim=0)


def last_frame(batch: Batch, context: int) -> dict[str, Tensor]:
    """The baseline that needs no model: the last observed frame, again and again."""
    frames = {}
    for key, value in batch.obs.items():
        truth = value.transpose(0, 1)
        frames[key] = truth[context].expand_as(truth[context + 1 :])
    return frames


__all__ = ["DrivenBy", "OpenLoop", "last_frame", "open_loop", "standardised_error"]
