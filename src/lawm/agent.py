"""The trained agent: filter, policy, constraint, decode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.errors import LawmError
from lawm.given_observations import require_keys, require_numbers
from lawm.imagination import LatentPolicy
from lawm.rssm import ModelState
from lawm.spec import DataSpec
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
        self.spec = model.spec
        self.model = model
        self.policy = policy
        self.constraint = constraint

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
            LawmError: The observation is no mapping, lacks a key, has one of another shape or type
                than in the data or with numbers that are not finite, or is of another number of
                environments than the state.
        """
        s, single = self._filter(obs, state)
        latent_action = self.model.latent_action
        mean, _ = self.policy.distribution(self.policy.network(s.features))
        u = self.constraint.apply(latent_action.prior(s.features), mean, stochastic=False)
        action = latent_action.decode(s.features, u)
        h = self.model.rssm.bind().recur(s.h, s.z, self.model.transition_input.act(u, action))
        out = actions_in_units(self.spec, action)
        return (out[0] if single else out), AgentState(h)

    @torch.inference_mode()
    def first_state(self, obs: dict[str, NDArray[np.generic]]) -> ModelState:
        """The filtered state at the first observations of n episodes; ``obs`` as for :meth:`act`.

        Raises:
            LawmError: As for :meth:`act`.
        """
        state, _ = self._filter(obs, None)
        return state

    def _filter(
        self, obs: dict[str, NDArray[np.generic]], state: AgentState | None
    ) -> tuple[ModelState, bool]:
        """The posterior state, and whether the observation had no batch dimension."""
        like = next(self.model.parameters())
        batched, single = batched_observations(self.spec, obs, like)
        num = next(iter(batched.values())).shape[0]
        if state is None:
            state = self.initial_state(num)
        check_same_environments(num, len(state.h))
        return self.model.filter_step(state.h, self.model.encoder(batched)), single


def actions_in_units(spec: DataSpec, action: Tensor) -> NDArray[np.float32]:
    """Actions within [-1, 1] in the environment's units, (n, A)."""
    low = np.asarray(spec.action_low, dtype=np.float32)
    high = np.asarray(spec.action_high, dtype=np.float32)
    in_units: NDArray[np.float32] = low + (action.cpu().numpy() + 1.0) * 0.5 * (high - low)
    return in_units.astype(np.float32)


def check_same_environments(num: int, remembered: int) -> None:
    """Refuse a state of other episodes than the observation's.

    Args:
        num: Environments that the observation is of.
        remembered: Environments that the state is of.

    Raises:
        LawmError: They differ.
    """
    if num != remembered:
        raise LawmError(
            f"The observation is of {num} environments and the state of {remembered}; expected as "
            "many. Give the state that the last call returned for the same environments, or None "
            "where their episodes start."
        )


def batched_observations(
    spec: DataSpec, obs: dict[str, NDArray[np.generic]], like: Tensor
) -> tuple[dict[str, Tensor], bool]:
    """Tensors with a batch dimension on the device of ``like``, and whether there was none before.

    Raises:
        LawmError: No mapping, or a key is missing, has another shape or type than in the data,
            holds numbers that are not finite, or is of another number of environments.
    """
    require_keys(spec, obs)
    batched: dict[str, Tensor] = {}
    single = False
    for key, item in spec.observations.items():
        value = np.asarray(obs[key])
        require_numbers(key, item, value)
        if value.shape == item.shape:
            single = True
            value = value[None]
        if value.shape[1:] != item.shape:
            raise LawmError(
                f"Observation '{key}' has shape {np.asarray(obs[key]).shape}; the agent was "
                f"trained on {item.shape}, or (n, {', '.join(map(str, item.shape))}) for n "
                "environments at once."
            )
        tensor = torch.as_tensor(value).to(like.dtype if item.kind == "state" else torch.uint8)
        _refuse_not_finite(key, value, tensor)
        batched[key] = tensor.to(like.device)
    rows = {key: len(tensor) for key, tensor in batched.items()}
    if len(set(rows.values())) > 1:
        raise LawmError(
            "The keys of the observation are of different numbers of environments: "
            f"{', '.join(f'{key!r} of {num}' for key, num in rows.items())}. Give each key a row "
            "for each environment."
        )
    return batched, single


def _refuse_not_finite(key: str, value: NDArray[np.generic], tensor: Tensor) -> None:
    """``tensor`` is ``value`` as the networks read it, with a batch dimension."""
    wrong = (~torch.isfinite(tensor)).nonzero()
    if len(wrong):
        row, *index = wrong[0].tolist()
        raise LawmError(
            f"Observation '{key}' of environment {row} (of {len(tensor)}) is "
            f"{value[row, *index]} at index {index}; expected finite numbers in "
            f"{str(tensor.dtype).removeprefix('torch.')}. Look for the cause in the environment."
        )


__all__ = [
    "AgentState",
    "LatentActionAgent",
    "actions_in_units",
    "batched_observations",
    "check_same_environments",
]
