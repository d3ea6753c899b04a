"""Runs of both stages that take a second: a made-up task, made-up trajectories, tiny networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from shard_factory import write_shard

from lawm.cli import main
from lawm.envs import register_env

CONF = Path(__file__).parents[1] / "conf"
ENV_ID = "tiny/line"
OBS_DIM, ACTION_DIM, EPISODE_STEPS = 3, 2, 4


class LineEnv:
    """Four steps; the reward is the first action."""

    def __init__(self, env_id: str = ENV_ID, action_repeat: int = 1, seed: int = 0) -> None:
        self.env_id, self.action_repeat, self.control_timestep = env_id, action_repeat, 0.05
        self.action_low, self.action_high = -np.ones(ACTION_DIM), np.ones(ACTION_DIM)
        self.time = 0

    def _observe(self):
        return {"state": np.full(OBS_DIM, self.time, dtype=np.float32)}

    def reset(self, seed=None):
        self.time = 0
        return self._observe()

    def step(self, action):
        self.time += 1
        return self._observe(), float(action[0]), False, self.time == EPISODE_STEPS

    def physics_state(self):
        return np.zeros(0)

    def render(self, height, width, camera):
        return np.zeros((height, width, 3), dtype=np.uint8)

    def close(self):
        pass


register_env("tiny", lambda env_id, action_repeat, seed: LineEnv(env_id, action_repeat, seed))


def tiny_shard(folder: Path, env_id: str = ENV_ID) -> Path:
    """Twelve labelled episodes of 20 steps."""
    return write_shard(
        folder / "tiny.h5",
        lengths=[20] * 12,
        obs_dim=OBS_DIM,
        action_dim=ACTION_DIM,
        counter=False,
        env_id=env_id,
    )


def fit_arguments(shard: Path, run_dir: Path | None, *more: str) -> list[str]:
    """A `lawm fit` of 20 + 10 steps."""
    where = [] if run_dir is None else ["--run_dir", str(run_dir)]
    return [
        "fit",
        *("--config", str(CONF / "debug.yaml"), "--data.shards", str(shard)),
        *("--data.labels", "50%", "--data.held_out", "2 episodes"),
        *("--trainer.accelerator", "cpu"),
        *where,
        *more,
    ]


def tiny_fit(shard: Path, run_dir: Path, *more: str) -> int:
    """Run it."""
    return main(fit_arguments(shard, run_dir, *more))
