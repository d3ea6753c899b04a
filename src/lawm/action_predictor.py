"""Actions from observations alone: inverse dynamics, and behaviour cloning.

    inverse dynamics     a_t from o_{t-1}, o_t, o_{t+1}, o_{t+2}: labels what carries no labels
    behaviour cloning    a_t from o_t: a policy

The two simple baselines beside the latent-action world model; one network, which differs in how
many observations around t it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lawm.agent import actions_in_units, batched_observations, check_same_environments
from lawm.batch import Batch, EpisodeBatch
from lawm.errors import LawmError
from lawm.networks import MLP
from lawm.observation_transitions import ObservationTransitions
from lawm.observations import ObservationEncoder, ObservationSizes
from lawm.spec import DataSpec


@dataclass(frozen=True)
class ActionPredictorConfig:
    """Sizes of the network and the observations that it reads.

    Args:
        before: Observations before o_t.
        after: Observations after o_t; a policy has none.
        hidden: Width of the layers.
        embed: Size of an observation key's embedding.
        num_layers: Hidden layers of encoder and head.
        dropout: Of the head's hidden layers; it sees the labelled windows alone.
    """

    before: int = 0
    after: int = 0
    hidden: int = 192
    embed: int = 192
    num_layers: int = 2
    dropout: float = 0.3


class ActionPredictor(nn.Module):
    """The mean of ``p(a_t | o_{t - before}, ..., o_{t + after})``.

    A policy reads embeddings. Inverse dynamics, which look ahead, read the transitions from each of
    these observations to the next, as q_free does (:mod:`lawm.observation_transitions`). At the
    ends of a window the first or last of what is read is repeated.

    Raises:
        LawmError: A number of observations is negative.
    """

    def __init__(self, spec: DataSpec, config: ActionPredictorConfig) -> None:
        super().__init__()
        for name in ("before", "after"):
            if getattr(config, name) < 0:
                raise LawmError(
                    f"model.{name} of the action predictor is {getattr(config, name)}; expected "
                    "a number of observations from 0."
                )
        self.spec, self.config = spec, config
        seen = spec.observations
        if config.after:  # transitions read states as they are
            seen = {key: item for key, item in seen.items() if item.kind == "image"}
        self.encoder = ObservationEncoder(
            replace(spec, observations=seen),
            ObservationSizes(config.hidden, config.embed, config.num_layers),
        )
        self.transitions = ObservationTransitions(spec, config.embed) if config.after else None
        read = (config.before + 1) * self.encoder.size
        if self.transitions:
            read = (config.before + config.after) * self.transitions.size
        self.head = MLP(
            read, config.hidden, spec.action_dim, config.num_layers, dropout=config.dropout
        )

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """``{key: (B, T + 1, *shape)} -> (B, T, A)``, within (-1, 1)."""
        before, after = self.config.before, self.config.after
        if self.transitions is None:
            around, count = self.encoder(obs)[:, :-1], before + 1
        else:
            around, count = self.transitions(obs, self.encoder.embeds(obs), dim=1), before + after
        steps = torch.arange(around.shape[1], device=around.device)
        last = around.shape[1] - 1
        read = [around[:, (steps + i - before).clamp(0, last)] for i in range(count)]
        return self.of_frames(torch.cat(read, dim=-1))

    def of_frames(self, read: Tensor) -> Tensor:
        """From embeddings or transitions side by side, the earliest first: ``(..., A)``."""
        return torch.tanh(self.head(read))


class PseudoLabeller:
    """Gives the action-free rows of a batch the actions that inverse dynamics predict.

    All rows then count as labelled; their rewards stay as they are, hidden or not.
    """

    def __init__(self, predictor: ActionPredictor) -> None:
        self._predictor = predictor.requires_grad_(False).eval()

    def label_windows(self, batch: Batch) -> Batch:
        """Windows, on any device."""
        if batch.num_labelled == batch.num_rows:
            return batch
        return replace(batch, action=self._all_actions(batch.obs, batch.action))

    def label_episodes(self, episodes: EpisodeBatch) -> EpisodeBatch:
        """Whole episodes; the padding stays zero."""
        if episodes.num_labelled == len(episodes.length):
            return episodes
        action = self._all_actions(episodes.obs, episodes.action)
        steps = torch.arange(action.shape[1], device=action.device)
        real = steps[None, :] < episodes.length.to(action.device)[:, None]
        return replace(episodes, action=action * real[..., None])

    @torch.no_grad()
    def _all_actions(self, obs: dict[str, Tensor], known: Tensor) -> Tensor:
        free = {key: value[known.shape[0] :] for key, value in obs.items()}
        predicted = self._predictor.to(known.device)(free)
        return torch.cat([known, predicted.to(known.dtype)])


@dataclass(frozen=True)
class FrameMemory:
    """What a cloned policy remembers: the embeddings of the observations before the next one."""

    embeds: Tensor | None  # (n, before, E), the earliest first; None before the first observation


class ClonedAgent:
    """Behaviour cloning in the environment: the mean action, from the last observations.

    Raises:
        LawmError: The network reads observations that lie ahead.
    """

    def __init__(self, predictor: ActionPredictor) -> None:
        if predictor.config.after:
            raise LawmError(
                f"cloning.model.after is {predictor.config.after}; expected 0, as a policy cannot "
                "read the observations that its actions lead to."
            )
        self.spec = predictor.spec
        self.predictor = predictor

    def initial_state(self, num: int = 1) -> FrameMemory:
        """The memory before the first observation of ``num`` episodes."""
        del num
        return FrameMemory(None)

    @torch.inference_mode()
    def act(
        self, obs: dict[str, NDArray[np.generic]], state: FrameMemory | None = None
    ) -> tuple[NDArray[np.float32], FrameMemory]:
        """As :meth:`lawm.agent.LatentActionAgent.act`."""
        like = next(self.predictor.parameters())
        batched, single = batched_observations(self.spec, obs, like)
        embed = self.predictor.encoder(batched)[:, None]
        before = state.embeds if state else None
        if before is None:
            before = embed.expand(-1, self.predictor.config.before, -1)
        check_same_environments(len(embed), len(before))
        frames = torch.cat([before, embed], dim=1)
        action = self.predictor.of_frames(frames.flatten(1))
        out = actions_in_units(self.spec, action)
        return (out[0] if single else out), FrameMemory(frames[:, 1:])


__all__ = [
    "ActionPredictor",
    "ActionPredictorConfig",
    "ClonedAgent",
    "FrameMemory",
    "PseudoLabeller",
]
