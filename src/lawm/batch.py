"""What the data module hands to stage 1.

Shape letters, the same in the whole project:

    B  rows (windows) in a batch        L  labelled rows of them; they come first
    T  transitions in a window          H  imagination horizon
    E  episodes                         A  action dimensions, scaled to [-1, 1]
    R  rows whose reward may be known, the first of a batch: at most B
    U  latent-action dimensions         D  recurrent state h ("deter")
    Z  stochastic state z ("stoch")     N  rows of a shard (sum of T + 1 over its episodes)

Time: ``action[:, t]`` and ``reward[:, t]`` are taken AT ``obs[:, t]`` and lead to
``obs[:, t + 1]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Windows of trajectories, the L action-labelled rows first, then the action-free ones.

    Hidden actions cannot leak: there is no place for them, ``action`` has L rows. Nor is there one
    for rewards where no action-free row can have them. R is ``len(batch.reward)``: the rows that
    carry labels in the data, or B.
    """

    obs: dict[str, Tensor]  # each (B, T + 1, *shape): float32 states, uint8 images (H, W, C)
    action: Tensor  # (L, T, A) float32 in [-1, 1]
    reward: Tensor  # (R, T) float32; zero where has_reward is False
    terminated: Tensor  # (B, T) float32 in {0, 1}: the transition t -> t + 1 ended the task
    has_reward: Tensor  # (R,) bool
    source: Tensor | None = None
    """(B, 2) int64: number of each window's episode in the data module, and its first step."""
    probe: dict[str, Tensor] = field(default_factory=dict)
    """States that the data have and the model does not see, each (B, T + 1, D) float32; of
    held-out windows alone."""

    @property
    def num_rows(self) -> int:
        """B."""
        return int(self.terminated.shape[0])

    @property
    def num_labelled(self) -> int:
        """L."""
        return int(self.action.shape[0])

    def first_labelled(self, rows: int) -> Batch:
        """The first rows of a batch, at most its labelled ones."""
        rows = min(rows, self.num_labelled)
        return Batch(
            obs={key: value[:rows] for key, value in self.obs.items()},
            action=self.action[:rows],
            reward=self.reward[:rows],
            terminated=self.terminated[:rows],
            has_reward=self.has_reward[:rows],
            source=None if self.source is None else self.source[:rows],
            probe={key: value[:rows] for key, value in self.probe.items()},
        )

    def action_free(self) -> Batch:
        """The same windows without their actions."""
        return replace(self, action=self.action[:0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=non_blocking)

        return Batch(
            obs={key: move(value) for key, value in self.obs.items()},
            action=move(self.action),
            reward=move(self.reward),
            terminated=move(self.terminated),
            has_reward=move(self.has_reward),
            source=None if self.source is None else move(self.source),
            probe={key: move(value) for key, value in self.probe.items()},
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return Batch(
            obs={key: value.pin_memory() for key, value in self.obs.items()},
            action=self.action.pin_memory(),
            reward=self.reward.pin_memory(),
            terminated=self.terminated.pin_memory(),
            has_reward=self.has_reward.pin_memory(),
            source=None if self.source is None else self.source.pin_memory(),
            probe={key: value.pin_memory() for key, value in self.probe.items()},
        )


@dataclass(frozen=True)
class EpisodeBatch:
    """Whole episodes, padded at the end to the longest of them.

    Rows are sorted as in :class:`Batch`: the L labelled episodes first.
    """

    obs: dict[str, Tensor]  # each (E, T + 1, *shape); the last real frame is repeated as padding
    action: Tensor  # (L, T, A); zero as padding
    reward: Tensor  # (E, T); zero as padding and where has_reward is False
    has_reward: Tensor  # (E,) bool
    length: Tensor  # (E,) int64: transitions that are real
    terminated: Tensor  # (E,) bool: the last one ended the task

    @property
    def num_labelled(self) -> int:
        """L."""
        return int(self.action.shape[0])

    @property
    def acted_in(self) -> Tensor:
        """(T + 1, E) bool, on the CPU, time first: steps in which somebody can act.

        Padding is none, nor is the state in which a task has ended; the last step of an episode
        that was cut off is one.
        """
        num_steps = next(iter(self.obs.values())).shape[1]
        return torch.arange(num_steps)[:, None] <= (self.length - self.terminated.long())[None, :]


__all__ = ["Batch", "EpisodeBatch"]
