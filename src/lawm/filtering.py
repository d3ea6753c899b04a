"""The filter's loop over time: s_t from the observations, with the posteriors of z and u."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lawm.fused.kernels import kernels_usable
from lawm.fused.observe_loop import ObserveInputs, ObserveLoop
from lawm.fused.observe_scan import observe_scan
from lawm.fused.plans import Plans
from lawm.latent_action import LatentActionModel
from lawm.latents import GaussianLatent
from lawm.rssm import RSSM
from lawm.transition_input import ActionInput, KnownAhead, TransitionInput


@dataclass(frozen=True)
class Filtered:
    """What must be computed step by step, time first."""

    features: Tensor  # (T + 1, B, D + Z)
    z_posterior: Tensor  # (T + 1, B, ·)
    inverse_posterior: Tensor  # (T, F, ·), of the rows whose action was inferred
    inferred_action: Tensor | None  # (T, F, A), as constants, where actions were inferred
    action_posterior: Tensor | None  # (T, L, ·), where the loop needed it


def filter_windows(
    rssm: RSSM,
    latent_action: LatentActionModel,
    transition_input: TransitionInput,
    embed_projected: Tensor,
    known: KnownAhead,
    z_noise: Tensor,
    plans: Plans[ObserveLoop],
) -> Filtered:
    """Run the filter over a batch of windows.

    Args:
        rssm: The recurrence.
        latent_action: The four distributions around u.
        transition_input: What enters the recurrence.
        embed_projected: :meth:`~lawm.rssm.RSSM.project_embed`, ``(T + 1, B, hidden)``.
        known: Actions, and what of the observations was projected ahead.
        z_noise: Noise of z, ``(T + 1, B, ·)``.
        plans: Of whoever owns these networks.
    """
    if not _scan_applies(rssm, latent_action, transition_input):
        return _step_by_step(rssm, latent_action, transition_input, embed_projected, known, z_noise)
    inputs = ObserveInputs(known.action, z_noise, transition_input.inverse_gradient)
    features, z_posterior, inverse_posterior, inferred = observe_scan(
        rssm, latent_action, embed_projected, known.inverse_projected, inputs, plans=plans
    )
    inferred_action = inferred if transition_input.infers_actions else None
    return Filtered(features, z_posterior, inverse_posterior, inferred_action, None)


def _scan_applies(
    rssm: RSSM, latent_action: LatentActionModel, transition_input: TransitionInput
) -> bool:
    return (
        kernels_usable(rssm.cell.linear.weight)
        and isinstance(rssm.latent, GaussianLatent)
        and isinstance(latent_action.latent, GaussianLatent)
        and isinstance(transition_input, ActionInput)
    )


def _step_by_step(
    rssm: RSSM,
    latent_action: LatentActionModel,
    transition_input: TransitionInput,
    embed_projected: Tensor,
    known: KnownAhead,
    z_noise: Tensor,
) -> Filtered:
    """Any latents, any transition input, any device; autograd follows each operator."""
    latent, step_of, action_step = rssm.latent, rssm.bind(), latent_action.bind()
    num_steps = embed_projected.shape[0]
    h = rssm.initial_h(embed_projected.shape[1], embed_projected)
    features, z_posterior, transitions = [], [], []
    for t, (projected, noise) in enumerate(
        zip(embed_projected.unbind(), z_noise.unbind(), strict=True)
    ):
        params = step_of.posterior(h, projected)
        z = latent.sample(params, noise)
        features.append(torch.cat([h, z], dim=-1))
        z_posterior.append(params)
        if t < num_steps - 1:
            transition = transition_input.observe(action_step, features[-1], known, t)
            transitions.append(transition)
            h = step_of.recur(h, z, transition.x)
    labelled = [t.labelled_params for t in transitions if t.labelled_params is not None]
    inferred = [t.inferred.detach() for t in transitions if t.inferred is not None]
    return Filtered(
        features=torch.stack(features),
        z_posterior=torch.stack(z_posterior),
        inverse_posterior=torch.stack([t.free_params for t in transitions]),
        inferred_action=torch.stack(inferred) if inferred else None,
        action_posterior=torch.stack(labelled) if labelled else None,
    )


__all__ = ["Filtered", "filter_windows"]
