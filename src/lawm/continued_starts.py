"""Imagined trajectories that outlive the horizon: they go on from update to update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lawm.rssm import ModelState


class ContinuedStarts:
    """Starts a share of an update's rollouts where those of the update before ended.

    Rollouts of H steps from states of the data never show where a policy stays: a walker that is
    held on the ground by the policy's own constant action, a finger that jams. The data leave such
    states within H steps, and the model, started from them, does not get there. Continued rollouts
    do; then the return that is missing is the actor's to gain. The lengths are geometric, as if an
    environment was left running and reset now and then.

    Args:
        share: Of the rollouts of an update that go on.
        mean_steps: Expected steps from a state of the data to the end of such a trajectory.
        horizon: H, the steps of one update.
    """

    def __init__(self, share: float, mean_steps: int, horizon: int) -> None:
        self.share = share
        self.going_on = max(0.0, 1.0 - horizon / mean_steps)
        self._end: ModelState | None = None
        self._alive: Tensor | None = None

    def join(self, start: ModelState) -> ModelState:
        """The states of the data, the last rows replaced by where the last rollouts ended.

        Args:
            start: ``(N, D)`` and ``(N, Z)``.
        """
        if self._end is None or self._alive is None:
            return start
        end, device = self._end, start.h.device
        kept = len(start.h) - min(len(self._alive), round(self.share * len(start.h)))
        chance = self.going_on * self._alive[: len(start.h) - kept].to(device)
        goes_on = (torch.rand_like(chance) < chance)[:, None]

        def joined(fresh: Tensor, old: Tensor) -> Tensor:
            last = torch.where(goes_on, old[: len(chance)].to(fresh), fresh[kept:])
            return torch.cat([fresh[:kept], last])

        return ModelState(joined(start.h, end.h), joined(start.z, end.z))

    def keep(self, end: ModelState, alive: Tensor) -> None:
        """Remember where an update's rollouts ended.

        Args:
            end: ``(N, D)`` and ``(N, Z)``.
            alive: Probability that the rollout met no terminal state, ``(N,)``.
        """
        first = len(alive) - round(self.share * len(alive))
        # copies: a checkpoint would hold all that these are views of
        h, z, alive = (value[first:].detach().float().clone() for value in (end.h, end.z, alive))
        self._end, self._alive = ModelState(h, z), alive

    def state_dict(self) -> dict[str, Tensor]:
        """For a checkpoint; empty before the first update."""
        if self._end is None or self._alive is None:
            return {}
        return {"h": self._end.h, "z": self._end.z, "alive": self._alive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; from states of the data if it is empty."""
        self._end = ModelState(state["h"], state["z"]) if state else None
        self._alive = state["alive"] if state else None


__all__ = ["ContinuedStarts"]
