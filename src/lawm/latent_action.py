"""The latent action u: what labelled and action-free trajectories have in common.

    prior              p(u_t | s_t)
    action posterior   q_act(u_t | s_t, a_t)        where the action is known
    inverse posterior  q_free(u_t | s_t, o_t, o_{t+1})   where it is not
    action decoder     p(a_t | s_t, u_t)

The inverse posterior reads the next OBSERVATION; reading s_{t+1} would be circular, since s_{t+1}
depends on u_t. It reads o_t anew, beside s_t, whose z_t is a noisy sample: what an action changes
in one step may be less than that noise. How it reads the two (:mod:`lawm.observation_transitions`)
and the alignment of the two posteriors is our own derivation; the factorisation is
that of "Latent Action World Models for Control with Unlabeled Trajectories" (arXiv 2512.10016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.fused.dropout import Dropout
from lawm.gaussian_nll import gaussian_nll
from lawm.latents import Latent
from lawm.networks import MLP, Linear, NormedLinear


@dataclass(frozen=True)
class LatentActionStep:
    """The latent action's part of one time step as plain functions; shapes ``(rows, .)``."""

    latent: Latent
    action_posterior: Callable[[Tensor, Tensor], Tensor]
    inverse_posterior: Callable[[Tensor, Tensor], Tensor]
    decode: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DecoderExample:
    """What the decoder reads in T steps of n rows, and what it should say."""

    features: Tensor  # (T, n, D + Z)
    u: Tensor  # (T, n, U)
    action: Tensor  # (T, n, A)


class LatentActionModel(nn.Module):
    """The four distributions around u.

    Args:
        latent: The kind of u.
        features: Size of s = [h, z].
        hidden: Width of the layers.
        transition_size: Size of what q_free reads of o_t and o_{t+1}.
        action_dim: A.
        min_std: Lower bound of the decoder's standard deviations, in units of the action's
            half-range.
        max_std: Upper bound under u ~ q_act. What is finer than it is explained as noise and needs
            no latent action: the prior does not follow it, nor does a policy near the prior.
        inverse_max_std: Upper bound under u ~ q_free, whose deviation is one of its own: with one
            for both the error of what is inferred would hide what is known.
        dropout: Of the decoder's hidden layer, and of q_free's first one where it learns from
            labels, which are few.
    """

    def __init__(
        self,
        latent: Latent,
        features: int,
        hidden: int,
        transition_size: int,
        action_dim: int,
        min_std: float,
        max_std: float,
        inverse_max_std: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.min_std = min_std
        self.max_std = max_std
        self.inverse_max_std = inverse_max_std
        self.prior_network = MLP(features, hidden, latent.num_params, num_layers=2)
        self.action_projection = Linear(action_dim, hidden, bias=False)
        self.action_layer = NormedLinear(features, hidden)
        self.action_output = Linear(hidden, latent.num_params)
        self.inverse_input = NormedLinear(transition_size, hidden)
        self.inverse_dropout = Dropout(dropout)
        self.inverse_projection = Linear(hidden, hidden, bias=False)
        self.inverse_layer = NormedLinear(features, hidden)
        self.inverse_output = Linear(hidden, latent.num_params)
        self.decoder_layer = NormedLinear(features + latent.size, hidden)
        self.decoder_dropout = Dropout(dropout)
        self.decoder_output = Linear(hidden, action_dim)
        self.decoder_raw_std = nn.Parameter(torch.zeros(action_dim))
        self.inverse_raw_std = nn.Parameter(torch.zeros(action_dim))

    def bind(self) -> LatentActionStep:
        """The parts that a loop over time may need, as plain functions; without dropout."""
        latent = self.latent
        action_layer, inverse_layer = self.action_layer.bind(), self.inverse_layer.bind()
        decoder_layer = self.decoder_layer.bind()
        action_weight, action_bias = self.action_output.weight.t(), self.action_output.bias
        inverse_weight, inverse_bias = self.inverse_output.weight.t(), self.inverse_output.bias
        decoder_weight, decoder_bias = self.decoder_output.weight.t(), self.decoder_output.bias

        def action_posterior(features: Tensor, action_projected: Tensor) -> Tensor:
            return torch.addmm(action_bias, action_layer(features, action_projected), action_weight)

        def inverse_posterior(features: Tensor, next_projected: Tensor) -> Tensor:
            return torch.addmm(
                inverse_bias, inverse_layer(features, next_projected), inverse_weight
            )

        def decode(features: Tensor, u: Tensor) -> Tensor:
            hidden = decoder_layer(torch.cat([features, u], dim=-1))
            return torch.addmm(decoder_bias, hidden, decoder_weight).tanh()

        return LatentActionStep(latent, action_posterior, inverse_posterior, decode)

    def project_action(self, action: Tensor) -> Tensor:
        """The part of q_act that does not depend on s, for all steps at once."""
        out: Tensor = self.action_projection(action, self.action_layer.linear.bias)
        return out

    def project_transition(self, transition: Tensor, *, with_labels: bool) -> Tensor:
        """The part of q_free that does not depend on s, for all steps at once.

        Args:
            transition: ``(..., transition_size)``.
            with_labels: Of rows whose actions teach q_free: with dropout in training. Where q_free
                infers what enters the dynamics, noise would attenuate the action's effect.
        """
        dropout = self.inverse_dropout if with_labels else None
        out: Tensor = self.inverse_input(
            transition,
            dropout=dropout,
            then=self.inverse_projection,
            added=self.inverse_layer.linear.bias,
        )
        return out

    def prior(self, features: Tensor) -> Tensor:
        """Parameters of ``p(u | s)``."""
        out: Tensor = self.prior_network(features)
        return out

    def action_posterior(self, features: Tensor, action_projected: Tensor) -> Tensor:
        """Parameters of ``q_act(u | s, a)``, a through :meth:`project_action`."""
        out: Tensor = self.action_layer(features, action_projected, then=self.action_output)
        return out

    def inverse_posterior(self, features: Tensor, next_projected: Tensor) -> Tensor:
        """Parameters of ``q_free(u | s, o, o')``, o and o' through the projection."""
        out: Tensor = self.inverse_layer(features, next_projected, then=self.inverse_output)
        return out

    def decode(self, features: Tensor, u: Tensor) -> Tensor:
        """Mean of ``p(a | s, u)``, within (-1, 1): ``(..., A)``."""
        return torch.tanh(self._before_tanh(torch.cat([features, u], dim=-1)))

    def _before_tanh(self, features_and_u: Tensor) -> Tensor:
        out: Tensor = self.decoder_layer(
            features_and_u, dropout=self.decoder_dropout, then=self.decoder_output
        )
        return out

    def decoder_std(self) -> Tensor:
        """Standard deviation of ``p(a | s, u)`` with u ~ q_act, the same everywhere: ``(A,)``."""
        return self._std(self.decoder_raw_std, self.max_std)

    def inverse_std(self) -> Tensor:
        """That of ``p(a | s, u)`` with u ~ q_free, the error of q_free in it: ``(A,)``."""
        return self._std(self.inverse_raw_std, self.inverse_max_std)

    def _std(self, raw: Tensor, max_std: float) -> Tensor:
        return self.min_std + (max_std - self.min_std) * torch.sigmoid(raw)

    def action_nll(self, of_act: DecoderExample, of_free: DecoderExample) -> tuple[Tensor, Tensor]:
        """``-log p(a | s, u)`` in nats of u ~ q_act and of u ~ q_free, ``(T, n)`` each.

        One call of the decoder for both.
        """
        both = (of_act, of_free)
        read = torch.cat([torch.cat([x.features, x.u], dim=-1).flatten(0, 1) for x in both])
        steps, rows = of_act.u.shape[:2]
        means = self._before_tanh(read).tensor_split([steps * rows])
        act, free = (
            gaussian_nll(mean.view(x.action.shape), x.action, std, squashed=True)
            for mean, x, std in zip(
                means, both, (self.decoder_std(), self.inverse_std()), strict=True
            )
        )
        return act, free


__all__ = ["DecoderExample", "LatentActionModel", "LatentActionStep"]
