"""The returns of some episodes, and their statistics."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class EvaluationResult:
    """Returns of some episodes. Statistics are over episodes."""

    returns: tuple[float, ...]  # undiscounted sums of rewards
    lengths: tuple[int, ...]  # agent steps, after action repeat
    seeds: tuple[int, ...]  # of the start states
    seconds: float = field(default=0.0, compare=False)  # wall clock
    videos: tuple[np.ndarray, ...] = field(default=(), compare=False, repr=False)
    """Each (frames, height, width, 3) uint8: the recorded episodes, first observation included."""
    video_fps: float = field(default=0.0, compare=False)  # frames per second of simulated time
    rewards: tuple[np.ndarray, ...] = field(default=(), compare=False, repr=False)
    """Each (length,) float64: the rewards of an episode, one an agent step."""
    first_obs: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    """By key, (episodes, ...): what the agent saw before it acted."""

    @property
    def mean(self) -> float:
        """Mean return; NaN if one is not finite."""
        return statistics.fmean(self.returns) if self._is_finite else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation of the returns; NaN for a single episode, or as the mean."""
        is_known = self._is_finite and len(self.returns) > 1
        return statistics.stdev(self.returns) if is_known else math.nan

    @property
    def _is_finite(self) -> bool:
        return all(map(math.isfinite, self.returns))  # runs of older versions may hold others

    @property
    def stderr(self) -> float:
        """Standard error of the mean; NaN for a single episode."""
        return self.std / math.sqrt(len(self.returns))

    @property
    def min(self) -> float:
        """Worst return."""
        return min(self.returns)

    @property
    def max(self) -> float:
        """Best return."""
        return max(self.returns)

    def discounted_returns(self, gamma: float) -> np.ndarray:
        """``sum of gamma^t r_t`` of each episode, from its first step.

        This is what a critic predicts at the first observation, but for the tail after the end of
        an episode that ran into its time limit: of a steady reward, gamma^T of the value is
        missing, 0.7 % at gamma 0.99 and T = 500.

        Args:
            gamma: Discount of an agent step.

        Returns:
            (episodes,) float64, in units of return.
        """
        discounted = [float(rewards @ gamma ** np.arange(len(rewards))) for rewards in self.rewards]
        return np.array(discounted)

    def normalised(self, mean: float, best: float) -> float:
        """The mean return where 0 is the data's mean return and 1 the data's best.

        Args:
            mean: Mean return of the data's episodes.
            best: Best return of the data's episodes.

        Returns:
            ``(self.mean - mean) / (best - mean)``; NaN where the data has no spread or no rewards.
        """
        return (self.mean - mean) / (best - mean) if best > mean else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Numbers and lists for a report: everything but the arrays."""
        return {
            "mean": self.mean,
            "std": self.std,
            "stderr": self.stderr,
            "min": self.min,
            "max": self.max,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "seeds": list(self.seeds),
            "seconds": self.seconds,
        }


__all__ = ["EvaluationResult"]
