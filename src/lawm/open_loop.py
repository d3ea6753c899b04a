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

    features: Tensor  # (T - context, B, D + Z)
    observation: dict[str, Tensor]
    """Of the decoders' targets, each (T - context, B, *); states and images in the data's units."""
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
    latent_action = model.latent_action
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
        x = model.transition_input.act(u, decoded)
        state = model.imagine_step(rssm, state, x, sample=False)
        features.append(state.features)
    stacked = torch.stack(features)
    return OpenLoop(stacked, model.observation_decoder(stacked), model.reward(stacked))


def targets(model: WorldModel, batch: Batch, observed: Observed) -> dict[str, Tensor]:
    """What the decoders predict of a batch, time first: each (T + 1, B, *)."""
    obs = {key: batch.obs[key].transpose(0, 1) for key in model.spec.observations}
    return model.observation_decoder.targets(obs, model.encoder.split(observed.embed))


def standardised_error(
    model: WorldModel, predicted: dict[str, Tensor], truth: dict[str, Tensor], context: int
) -> Tensor:
    """Mean squared error over variance by horizon, ``(T - context,)``, mean over the keys.

    Args:
        model: Knows the variance: of each dimension of a state over the data, of the pixels of an
            image over the batch.
        predicted: Of each key, the steps after the context.
        truth: :func:`targets`.
        context: Steps that were filtered.
    """
    errors = []
    for key, decoder in model.observation_decoder.items():
        spread = decoder.spread(truth[key])
        later = truth[key][context + 1 :].to(spread.dtype)  # bytes would wrap around
        error = (predicted[key].to(spread.dtype) - later) / spread
        errors.append(error.square().flatten(1).mean(dim=1))
    return torch.stack(errors).mean(dim=0)


def last_frame(truth: dict[str, Tensor], context: int) -> dict[str, Tensor]:
    """The baseline that needs no model: the last observed frame, again and again."""
    return {key: value[context].expand_as(value[context + 1 :]) for key, value in truth.items()}


__all__ = ["DrivenBy", "OpenLoop", "last_frame", "open_loop", "standardised_error", "targets"]
