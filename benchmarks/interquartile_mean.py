"""The interquartile mean and its stratified-bootstrap interval.

R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS
2021): scores of all runs of all tasks are pooled, the lowest and the highest quarter left out, and
the rest averaged; for the interval, runs are drawn with replacement within each task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

REPEATS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """An interquartile mean with its interval; that is None where runs are too few to tell."""

    value: float
    low: float | None
    high: float | None
    num_runs: int


def interquartile_mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean without the lowest and the highest quarter.

    A quarter is rounded down to whole runs, as in the authors' own package: of up to three runs
    none is left out, of four to seven one at each end.

    Args:
        values: (N,), N at least 1.
    """
    return float(trim_mean(np.asarray(values, dtype=np.float64), 0.25))


def estimate(strata: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """Interquartile mean of the pooled runs, with its 95 % percentile interval.

    The result does not depend on the order of runs or strata.

    Args:
        strata: Scores of the runs of each task, at least one run each. A stratum of one run would
            count as if it had no spread, so then there is no interval.
        seed: Of the resampling.
    """
    arrays = sorted(
        (np.sort(np.asarray(s, dtype=np.float64)) for s in strata), key=lambda a: a.tolist()
    )
    pooled = np.concatenate(arrays)
    value = interquartile_mean(pooled)
    if min(len(array) for array in arrays) < 2:
        return Estimate(value, None, None, len(pooled))
    rng = np.random.default_rng(seed)
    drawn = [array[rng.integers(len(array), size=(REPEATS, len(array)))] for array in arrays]
    means = trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), len(pooled))


__all__ = ["LEVEL", "REPEATS", "Estimate", "estimate", "interquartile_mean"]
