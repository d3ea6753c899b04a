"""Imagination under actions, or latent actions, that were chosen ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lawm.rssm import ModelState
from lawm.world_model import WorldModel

Chosen = Literal["latent_action", "action"]


@dataclass(frozen=True)
class ChosenRollout:
    """H steps from N starts, time first."""

    latent_action: Tensor  # (H, N, U)
    action: Tensor  # (H, N, A) in [-1, 1]
    states: ModelState  # (H, N, ·), those that the steps lead to


def imagine_chosen(
    model: WorldModel, start: ModelState, values: Tensor, chosen: Chosen, *, sample: bool
) -> ChosenRollout:
    """One step of the prior for each chosen value.

    What was not chosen follows from what was: the action is the decoder's mean, the latent action
    the mode of q_act.

    Args:
        model: The world model.
        start: N states.
        values: ``(H, N, U)`` or ``(H, N, A)``, H at least 1.
        chosen: What ``values`` are.
        sample: Whether z is sampled or at the prior's mode.
    """
    state, rssm = start, model.rssm.bind()
    latent_actions, actions, states = [], [], []
    for value in values.unbind():
        if chosen == "action":
            u, action = latent_of_action(model, state, value), value
        else:
            u, action = value, model.latent_action.decode(state.features, value)
        x = model.transition_input.act(u, action)
        state = model.imagine_step(rssm, state, x, sample=sample)
        latent_actions.append(u)
        actions.append(action)
        states.append(state)
    return ChosenRollout(
        torch.stack(latent_actions),
        torch.stack(actions),
        ModelState(torch.stack([s.h for s in states]), torch.stack([s.z for s in states])),
    )


def latent_of_action(model: WorldModel, state: ModelState, action: Tensor) -> Tensor:
    """The mode of ``q_act(u | s, a)``: ``(N, A) -> (N, U)``."""
    part = model.latent_action
    return part.latent.mode(part.action_posterior(state.features, part.project_action(action)))


__all__ = ["Chosen", "ChosenRollout", "imagine_chosen", "latent_of_action"]
