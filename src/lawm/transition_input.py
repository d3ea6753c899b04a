"""What enters the recurrence beside s: the real action, the latent action, or a mark for none.

``action``: the action where it is known, the decoder's mean at the MODE of q_free where it is not.
The decoder is the bottleneck: u reaches the dynamics through a bounded action alone. No sample of u
or of the action, and no dropout in the decoder: noise in what the dynamics take for the action
attenuates what they learn of its effect (errors in variables).

``latent``: u itself for both kinds of data, u ~ q_act where the action is known and u ~ q_free
where it is not.

``masked_action``: the action where it is known, a learned "no action" vector where it is not; the
baseline without inference of actions. The vector is the weights of one more input, which is 1 where
the action is masked. The latent action is learned from the labelled rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm.gradients import scaled_gradient
from lawm.latent_action import LatentActionStep

TransitionInputName = Literal["action", "latent", "masked_action"]


@dataclass(frozen=True)
class KnownAhead:
    """What the loop over time reads and does not change, time first.

    K rows are those of :meth:`TransitionInput.known_rows`; the F = B - K behind them have an action
    that must be inferred.
    """

    action: Tensor  # (T, K, A), or as TransitionInput.known_rows makes it
    action_projected: Tensor | None  # (T, L, hidden), project_action, where q_act is in the loop
    inverse_projected: Tensor  # (T, F, hidden), LatentActionModel.project_transition of the rest
    sample: bool = True  # whether a latent action that enters the recurrence is drawn; else a mode


@dataclass(frozen=True)
class TransitionStep:
    """What one time step of the loop decided."""

    x: Tensor  # (B, X), enters the recurrence
    labelled_params: Tensor | None  # (L, ·) of q_act, where the loop needed it
    free_params: Tensor  # (F, ·) of q_free
    inferred: Tensor | None  # (F, A), decoded, where it entered the recurrence


class TransitionInput(Protocol):
    """A choice of x."""

    size: int
    infers_actions: bool  # whether q_free has a part in filtering action-free rows
    needs_action_posterior: bool  # whether q_act has one in filtering labelled rows
    inverse_kl_gradient: float  # of LossOptions, where that is None
    inverse_gradient: float  # factor on that which the dynamics send to what was inferred

    def known_rows(self, action: Tensor, num_rows: int) -> Tensor:
        """``(T, K, ·)`` for the rows that need no inference, from the actions (T, L, A) of B."""

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """x_t for a batch of real transitions; ``features`` of s_t is (B, D + Z)."""

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """X where u was chosen and decoded to ``action``: in imagination and in the world."""


class ActionInput:
    """x is the action.

    Its bounds are the bottleneck of u on action-free rows; the KL to the prior need not be one too:
    where an observation says little about the action, in nats, it would draw q_free to the prior.

    Args:
        action_dim: A.
        inverse_gradient: Factor on the gradient that the dynamics send to the inferred actions.
    """

    infers_actions = True
    needs_action_posterior = False
    inverse_kl_gradient = 0.0

    def __init__(self, action_dim: int, inverse_gradient: float = 0.0) -> None:
        self.size = action_dim
        self.inverse_gradient = inverse_gradient

    def known_rows(self, action: Tensor, num_rows: int) -> Tensor:
        """The labelled rows."""
        del num_rows
        return action

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """Known actions as they are, decoded ones for the action-free rows."""
        free = features[known.action.shape[1] :]
        params = model.inverse_posterior(free, known.inverse_projected[t])
        inferred = model.decode(free, model.latent.mode(params))
        x = torch.cat([known.action[t], scaled_gradient(inferred, self.inverse_gradient)])
        return TransitionStep(x, None, params, inferred)

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """The action."""
        del u
        return action


class LatentInput:
    """x is the latent action; nothing but the KL to the prior keeps u from telling the future."""

    infers_actions = True
    needs_action_posterior = True
    inverse_kl_gradient = 1.0
    inverse_gradient = 1.0

    def __init__(self, latent_size: int) -> None:
        self.size = latent_size

    def known_rows(self, action: Tensor, num_rows: int) -> Tensor:
        """The labelled rows."""
        del num_rows
        return action

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """A sample of q_act or q_free, or its mode."""
        assert known.action_projected is not None
        num_labelled = known.action.shape[1]
        labelled = model.action_posterior(features[:num_labelled], known.action_projected[t])
        free = model.inverse_posterior(features[num_labelled:], known.inverse_projected[t])
        params = torch.cat([labelled, free])
        if known.sample:
            x = model.latent.sample(params, model.latent.noise(features, features.shape[0]))
        else:
            x = model.latent.mode(params)
        return TransitionStep(x, labelled, free, None)

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """The latent action."""
        del action
        return u


class MaskedActionInput(ActionInput):
    """x is the action and a 0, or zeros and a 1 where the action is not known."""

    infers_actions = False

    def __init__(self, action_dim: int) -> None:
        super().__init__(action_dim + 1)

    def known_rows(self, action: Tensor, num_rows: int) -> Tensor:
        """All rows."""
        known = F.pad(action, (0, 1))
        masked = known.new_zeros(known.shape[0], num_rows - known.shape[1], self.size)
        masked[..., -1] = 1.0
        return torch.cat([known, masked], dim=1)

    def observe(
        self, model: LatentActionStep, features: Tensor, known: KnownAhead, t: int
    ) -> TransitionStep:
        """What is known; no row is left to infer."""
        none = features.new_zeros(0, model.latent.num_params)
        return TransitionStep(known.action[t], None, none, None)

    def act(self, u: Tensor, action: Tensor) -> Tensor:
        """The action, not masked."""
        del u
        return F.pad(action, (0, 1))


def make_transition_input(
    name: TransitionInputName, action_dim: int, latent_size: int, inverse_gradient: float
) -> TransitionInput:
    """A transition input by name; ``inverse_gradient`` is that of :class:`ActionInput`."""
    if name == "latent":
        return LatentInput(latent_size)
    if name == "action":
        return ActionInput(action_dim, inverse_gradient)
    return MaskedActionInput(action_dim)


__all__ = [
    "ActionInput",
    "KnownAhead",
    "LatentInput",
    "MaskedActionInput",
    "TransitionInput",
    "TransitionInputName",
    "TransitionStep",
    "make_transition_input",
]
