"""What enters the recurrence beside s: the real action, or the latent action.

``action``: the action where it is known, the decoder's MEAN for u ~ q_free where it is not. The
decoder is the bottleneck: u reaches the dynamics through a bounded action alone. The mean and not
a sample: sampled action noise teaches the dynamics to ignore the action.

``latent``: u itself for both kinds of data, u ~ q_act where the action is known and u ~ q_free
where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from lawm.latent_action import LatentActionStep

TransitionInputName = Literal["action", "latent"]


@dataclass(frozen=True)
class KnownAhead:
    """What the loop over time reads and does not change, time first.

    The L labelled rows come first in ``noise``; F = B - L rows are action-free.
    """

    action: Tensor  # (T, L, A)
    action_projected: Tensor  # (T, L, hidden), LatentActionModel.project_action
    next_projected: Tensor  # (T, F, hidden), LatentActionModel.project_next of the rest
    noise: Tensor  # (T, B, U), of u


@dataclass(frozen=True)
class TransitionStep:
    """What one time step of the loop decided."""

    x: Tensor  # (B, X), enters the recurrence
    labelled_params: Tensor | None  # (L, ·) of q_act, where the loop needed it
    free_params: Tensor  # (F, ·) of q_free


class TransitionInput(Protocol):
    """A choice of x."""

    size: int

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """x_t for a batch of real transitions; ``features`` of s_t is (B, D + Z)."""

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """X where u was chosen and decoded to ``action``: in imagination and in the world."""


class ActionInput:
    """x is the action."""

    def __init__(self, action_dim: int) -> None:
        self.size = action_dim

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """Known actions as they are, decoded ones for the action-free rows."""
        num_labelled = known.action.shape[1]
        free = features[num_labelled:]
        params = model.inverse_posterior(free, known.next_projected[t])
        u = model.latent.sample(params, known.noise[t, num_labelled:])
        x = torch.cat([known.action[t], model.decode(free, u)])
        return TransitionStep(x, None, params)

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """The action."""
        del u
        return action


class LatentInput:
    """x is the latent action."""

    def __init__(self, latent_size: int) -> None:
        self.size = latent_size

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """A sample of q_act or q_free."""
        num_labelled = known.action.shape[1]
        labelled = model.action_posterior(features[:num_labelled], known.action_projected[t])
        free = model.inverse_posterior(features[num_labelled:], known.next_projected[t])
        x = model.latent.sample(torch.cat([labelled, free]), known.noise[t])
        return TransitionStep(x, labelled, free)

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """The latent action."""
        del action
        return u


def make_transition_input(
    name: TransitionInputName, action_dim: int, latent_size: int
) -> TransitionInput:
    """A transition input by name."""
    return ActionInput(action_dim) if name == "action" else LatentInput(latent_size)


__all__ = [
    "ActionInput",
    "KnownAhead",
    "LatentInput",
    "TransitionInput",
    "TransitionInputName",
    "TransitionStep",
    "make_transition_input",
]
