"""A linear system whose latent action is known: the smallest world that has one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lawm.batch import Batch
from lawm.spec import DataSpec, ObservationSpec

OBS_DIM, ACTION_DIM = 5, 2


@dataclass(frozen=True)
class Trajectories:
    obs: np.ndarray  # (E, T + 1, 5)
    action: np.ndarray  # (E, T, 2), uniform in [-1, 1]


def simulate(
    episodes: int, steps: int, seed: int, disturbance: float = 0.0, pace: float = 1.0
) -> Trajectories:
    """``s' = A s + B a + w``, A a damped rotation, the same for every seed; observations are s.

    w is normal with the standard deviation ``disturbance``: nobody's action, and seen only in s'.
    With a ``pace`` below 1 each step goes that share of the way, and w is as it was.
    """
    system = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(system.normal(size=(OBS_DIM, OBS_DIM)))
    a_matrix, b_matrix = 0.9 * rotation, system.normal(size=(OBS_DIM, ACTION_DIM))
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1.0, 1.0, size=(episodes, steps, ACTION_DIM))
    obs = np.zeros((episodes, steps + 1, OBS_DIM))
    obs[:, 0] = rng.normal(size=(episodes, OBS_DIM))
    for t in range(steps):
        goal = obs[:, t] @ a_matrix.T + action[:, t] @ b_matrix.T
        obs[:, t + 1] = obs[:, t] + pace * (goal - obs[:, t])
        obs[:, t + 1] += disturbance * rng.normal(size=(episodes, OBS_DIM))
    return Trajectories(obs, action)


def spec_of(data: Trajectories) -> DataSpec:
    rows = data.obs.reshape(-1, OBS_DIM)
    mean, std = tuple(rows.mean(axis=0).tolist()), tuple(rows.std(axis=0).tolist())
    change = tuple(np.sqrt((np.diff(data.obs, axis=1) ** 2).mean(axis=(0, 1))).tolist())
    state = ObservationSpec((OBS_DIM,), "state", mean, std, change)
    return DataSpec({"state": state}, (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM)


def windows(
    data: Trajectories, episodes: np.ndarray, start: np.ndarray, window: int, labelled: int
) -> Batch:
    """Rows ``(episodes[i], start[i])``, the first ``labelled`` of them with actions; no rewards."""
    steps = start[:, None] + np.arange(window + 1)
    obs = data.obs[episodes[:, None], steps]
    action = data.action[episodes[:labelled, None], steps[:labelled, :-1]]
    rows = len(episodes)
    return Batch(
        obs={"state": torch.from_numpy(obs).float()},
        action=torch.from_numpy(action).float(),
        reward=torch.zeros(rows, window),
        terminated=torch.zeros(rows, window),
        has_reward=torch.zeros(rows, dtype=torch.bool),
    )
