"""Writes `stable_worldmodel.h5` with stable-worldmodel's own recorder.

Needs stable-worldmodel (written with 0.1.1), hdf5plugin, opencv-python-headless and imageio:

    python tests/data/write_stable_worldmodel.py

The environment is known: s' = s / 2 + a B with B as below, reward = sum of s', so that a test can
tell which action and which reward belong to which row. Episode e ends after 6 + e steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
import stable_worldmodel as swm

B = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], np.float32)
TARGET = Path(__file__).with_name("stable_worldmodel.h5")


class KnownDynamics(gym.Env):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Dict({"proprio": gym.spaces.Box(-9.0, 9.0, (3,), np.float32)})
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        self.state = self.np_random.normal(size=3).astype(np.float32)
        return {"proprio": self.state.copy()}, {}

    def step(self, action):
        self.steps += 1
        self.state = (self.state / 2 + np.asarray(action, np.float32) @ B).astype(np.float32)
        reward = float(self.state.sum())
        done = self.steps >= 6 + self.episode
        return {"proprio": self.state.copy()}, reward, done, False, {}

    def render(self):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[..., 0] = self.steps
        picture[..., 1] = self.episode
        return picture


def main() -> None:
    gym.register("KnownDynamics-v0", entry_point=KnownDynamics)
    world = swm.World("KnownDynamics-v0", num_envs=1, image_shape=(8, 8), max_episode_steps=100)
    world.set_policy(swm.policy.RandomPolicy(seed=0))
    TARGET.unlink(missing_ok=True)
    world.collect(TARGET, episodes=3, seed=0, format="hdf5", progress=False)
    world.close()


if __name__ == "__main__":
    main()
