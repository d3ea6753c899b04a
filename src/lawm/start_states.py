"""Start states of stage 2: the posterior states of the whole data set, computed once.

Possible because training is offline: all trajectories, labelled and action-free, are known before
the policy is trained, and the world model no longer changes. Each process computes and holds the
states of its share of the episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lawm.batch import EpisodeBatch
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.dynamics_ensemble import Transitions
from lawm.errors import LawmError
from lawm.policy_module import LatentPolicyModule
from lawm.posterior_episodes import PosteriorEpisodes, as_batch, posterior_episodes
from lawm.random_state import random_state_kept
from lawm.rssm import ModelState
from lawm.world_model import WorldModel

MAX_TRANSITIONS = 200_000


@torch.no_grad()
def posterior_states(model: WorldModel, episodes: Iterable[EpisodeBatch]) -> ModelState:
    """States ``(N, D)`` and ``(N, Z)`` of every step in which somebody can act, on the CPU.

    The model never saw what follows a terminal state, so no rollout begins in one.

    Raises:
        LawmError: There is no episode.
    """
    device = next(model.parameters()).device
    all_h: list[Tensor] = []
    all_z: list[Tensor] = []
    for chunk in episodes:
        observed = model.observe(as_batch(chunk).to(device))
        all_h.append(observed.h.cpu()[chunk.acted_in])
        all_z.append(observed.z.cpu()[chunk.acted_in])
    if not all_h:
        raise LawmError(
            "stage 2 has more processes than there are training episodes to start from, and each "
            "needs one. Use fewer processes."
        )
    return ModelState(torch.cat(all_h), torch.cat(all_z))


def posterior_transitions(model: WorldModel, episodes: Iterable[EpisodeBatch]) -> Transitions:
    """Every real transition, with the action that was taken or, where it is unknown, inferred."""
    parts = [
        (
            seen.features[:-1][seen.happened],
            seen.action[seen.happened],
            seen.features[1:][seen.happened],
        )
        for seen in posterior_episodes(model, episodes)
    ]
    return Transitions(*(torch.cat(values) for values in zip(*parts, strict=True)))


def share_of(episodes: Iterable[EpisodeBatch], rank: int, world: int) -> Iterator[EpisodeBatch]:
    """The episodes rank, rank + world, ... of all, in their chunks."""
    before = 0
    for chunk in episodes:
        num = len(chunk.length)
        rows = slice((rank - before) % world, num, world)
        before += num
        if rows.start < num:
            yield EpisodeBatch(
                obs={key: value[rows] for key, value in chunk.obs.items()},
                action=chunk.action[rows],
                reward=chunk.reward[rows],
                has_reward=chunk.has_reward[rows],
                length=chunk.length[rows],
                terminated=chunk.terminated[rows],
            )


def _steps_in_order(episodes: Iterable[EpisodeBatch]) -> Iterator[tuple[int, int]]:
    """Number of the episode and step of each state, in the order of :func:`posterior_states`."""
    done = 0
    for chunk in episodes:
        num_episodes = len(chunk.length)
        for step, episode in chunk.acted_in.nonzero().tolist():
            yield done + episode, step
        done += num_episodes


class StartStateLoader:
    """Endless batches of a process's states; batch k of rank r depends on (seed, k * world + r)."""

    def __init__(
        self, states: ModelState, batch_size: int, seed: int, rank: int, world: int, length: int
    ) -> None:
        self.states = states
        self.batch_size = batch_size
        self.seed, self.rank, self.world, self.length = seed, rank, world, length
        self._global = 0  # micro-batches handed out by all ranks together

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[ModelState]:
        for _ in range(self.length):
            counter = self._global + self.rank
            generator = np.random.Generator(np.random.Philox(key=[self.seed, counter]))
            index = torch.from_numpy(
                generator.integers(self.states.h.shape[0], size=self.batch_size)
            )
            self._global += self.world
            yield ModelState(
                self.states.h.index_select(0, index), self.states.z.index_select(0, index)
            )

    def state_dict(self) -> dict[str, Any]:
        """Position in the stream, the same on every rank."""
        return {"global": self._global}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._global = int(state["global"])


class StartStateDataModule(pl.LightningDataModule):
    """Hands stage 2 its start states.

    Args:
        world_model: Trained in stage 1.
        data: The trajectories.
        batch_size: Starts per update and process.
        max_states: About how many states each process keeps at most, 864 bytes each with the
            default sizes. Of a larger share of the data every second, third, … episode is taken.
        seed: Of the order of the batches.

    Raises:
        LawmError: ``max_states`` is below 1.
    """

    def __init__(
        self,
        world_model: WorldModel,
        data: MixedTrajectoryDataModule,
        batch_size: int = 256,
        max_states: int = 2_000_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if max_states < 1:
            raise LawmError(
                f"start_states.max_states is {max_states}; expected the number of states to keep, "
                "at least 1."
            )
        self.max_states = max_states
        self.world_model = world_model
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.states: ModelState | None = None

    def setup(self, stage: str | None = None) -> None:
        """Compute the states, once; the model's samples of z come from a generator of their own.

        Raises:
            LawmError: There are fewer episodes than processes.
        """
        del stage
        if self.states is not None:
            return
        first, stride = self._first_and_stride()
        share = share_of(self.data.episodes(), first, stride)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        with random_state_kept(device):
            torch.manual_seed(self.seed + first)
            self.states = posterior_states(self.world_model.eval(), share)

    def spread(self, num: int) -> ModelState:
        """``num`` of this process's states at even distance, the same at every call."""
        assert self.states is not None, "setup() first"
        index = torch.linspace(0, self.states.h.shape[0] - 1, num).long()
        return ModelState(self.states.h[index], self.states.z[index])

    def transitions(self) -> Transitions:
        """About MAX_TRANSITIONS at most, of all processes' episodes, which are read again."""
        return posterior_transitions(self.world_model.eval(), self._some_episodes())

    def behaviour(self) -> list[PosteriorEpisodes]:
        """Whole episodes, about MAX_TRANSITIONS at most, as for :meth:`transitions`."""
        return list(posterior_episodes(self.world_model.eval(), self._some_episodes()))

    def _some_episodes(self) -> Iterator[EpisodeBatch]:
        """Evenly spaced ones; where the model infers no actions, of those that have them."""
        any_action = not self.world_model.transition_input.infers_actions
        every = math.ceil(self.data.num_training_states(any_action) / MAX_TRANSITIONS)
        return share_of(self.data.episodes(with_actions=any_action), 0, every)

    def describe(self, batch: ModelState) -> list[str]:
        """Where each start state of a batch comes from: shard, episode and step."""
        assert self.states is not None, "setup() first"
        first, stride = self._first_and_stride()
        share = share_of(self.data.episodes(), first, stride)
        places = [(first + stride * i, step) for i, step in _steps_in_order(share)]
        found = []
        for h, z in zip(batch.h.cpu(), batch.z.cpu(), strict=True):
            alike = (self.states.h == h).all(1) & (self.states.z == z).all(1)
            index = alike.nonzero().flatten()
            if len(index):
                found.append(self.data.describe_start(*places[int(index[0])]))
            elif h.isfinite().all() and z.isfinite().all():
                found.append("the end of an imagined trajectory, which was to go on")
            else:
                found.append("a state that is not finite")
        return found

    def train_dataloader(self) -> StartStateLoader:
        """Endless random starts."""
        assert self.states is not None, "setup() first"
        rank, world = self._rank_and_world()
        steps = 1_000_000  # an epoch is only Lightning's bookkeeping here
        return StartStateLoader(self.states, self.batch_size, self.seed, rank, world, steps)

    def on_after_batch_transfer(self, batch: ModelState, dataloader_idx: int) -> ModelState:
        """Some rollouts go on instead; callbacks see the starts that are trained on."""
        del dataloader_idx
        module = self.trainer.lightning_module if self.trainer else None
        return module.continued.join(batch) if isinstance(module, LatentPolicyModule) else batch

    def _first_and_stride(self) -> tuple[int, int]:
        """Of the episodes whose states this process keeps: the first, and the step to the next."""
        rank, world = self._rank_and_world()
        every = math.ceil(self.data.num_training_states() / (world * self.max_states))
        return rank, world * min(every, max(1, self.data.num_training_episodes // world))

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


__all__ = [
    "StartStateDataModule",
    "StartStateLoader",
    "posterior_states",
    "posterior_transitions",
    "share_of",
]
