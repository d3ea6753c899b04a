"""The trained agent: filter, policy, constraint, decode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.errors import LawmError
from lawm.imagination import LatentPolicy
from lawm.rssm import ModelState
from lawm.support_constraint import SupportConstraint
from lawm.world_model import WorldModel


@dataclass(frozen=True)
class AgentState:
    """What the agent remembers between two observations: h before the next one."""

    h: Tensor  # (n, D)


class LatentActionAgent:
    """Acts in the environment: the same path as in imagination, each distribution at its mode."""

    def __init__(
        self, model: WorldModel, policy: LatentPolicy, constraint: SupportConstraint
    ) -> None:
        self.model = model
        self.policy = policy
        self.constraint = constraint
        self._low = np.asarray(model.spec.action_low, dtype=np.float32)
        self._high = np.asarray(model.spec.action_high, dtype=np.float32)

    def initial_state(self, num: int = 1) -> AgentState:
        """The state before the first observation of ``num`` episodes."""
        like = next(self.model.parameters())
        return AgentState(self.model.rssm.initial_h(num, like))

    @torch.inference_mode()
    def act(
        self, obs: dict[str, NDArray[np.generic]], state: AgentState | None = None
    ) -> tuple[NDArray[np.float32], AgentState]:
        """One step.

        Args:
            obs: The data's observation keys in the environment's units, each ``(n, *shape)``, or
                ``(*shape)`` for one environment.
            state: What the last call returned; None at the start of an episode.

        Returns:
            Actions in the environment's units, ``(n, A)`` or ``(A,)``, and the next state.

        Raises:
            LawmError: A key is missing or has another shape or type than in the data.
        """
        s, single = self._filter(obs, state)
        latent_action = self.model.latent_action
        mean, _ = self.policy.distribution(self.policy.network(s.features))
        u = self.constraint.apply(latent_action.prior(s.features), mean, stochastic=False)
        action = latent_action.decode(s.features, u)
        h = self.model.rssm.bind().recur(s.h, s.z, self.model.transition_input.act(u, action))
        scaled = action.cpu().numpy()
        in_units = self._low + (scaled + 1.0) * 0.5 * (self._high - self._low)
        out = in_units.astype(np.float32)
        return (out[0] if single else out), AgentState(h)

    @torch.inference_mode()
    def first_state(self, obs: dict[str, NDArray[np.generic]]) -> ModelState:
        """The filtered state at the first observations of n episodes; ``obs`` as for :meth:`act`.

        Raises:
            LawmError: A key is missing or has another shape or type than in the data.
        """
        state, _ = self._filter(obs, None)
        return state

    def _filter(
        self, obs: dict[str, NDArray[np.generic]], state: AgentState | None
    ) -> tuple[ModelState, bool]:
        """The posterior state, and whether the observation had no batch dimension."""
        batched, single = self._batched(obs)
        num = next(iter(batched.values())).shape[0]
        state = state or self.initial_state(num)
        return self.model.filter_step(state.h, self.model.encoder(batched)), single

    def _batched(self, obs: dict[str, NDArray[np.generic]]) -> tuple[dict[str, Tensor], bool]:
        """Tensors with a batch dimension, and whether there was none before."""
        like = next(self.model.parameters())
        batched: dict[str, Tensor] = {}
        single = False
        for key, spec in self.model.spec.observations.items():
            if key not in obs:
                raise LawmError(
                    f"The observation has no key '{key}'; it has {sorted(obs)}. The agent was "
                    f"trained on {sorted(self.model.spec.observations)}: give those."
                )
            value = np.asarray(obs[key])
            if spec.kind == "image" and value.dtype != np.uint8:
                raise LawmError(
                    f"Observation '{key}' is of type {value.dtype}; expected an image of uint8, "
                    "0 to 255. Give the picture as it was rendered."
                )
            if value.shape == spec.shape:
                single = True
                value = value[None]
            if value.shape[1:] != spec.shape:
                raise LawmError(
                    f"Observation '{key}' has shape {np.asarray(obs[key]).shape}; the agent was "
                    f"trained on {spec.shape}, or (n, {', '.join(map(str, spec.shape))}) for n "
                    "environments at once."
                )
            dtype = like.dtype if spec.kind == "state" else torch.uint8
            batched[key] = torch.as_tensor(value).to(like.device, dtype)
        return batched, single


__all__ = ["AgentState", "LatentActionAgent"]
