"""Writes the replay `dreamerv3_replay/` with DreamerV3's own driver and replay.

Needs the sources of dreamerv3 (written with 1.5.0) and numpy below 2; no jax, as only the package's
`embodied` is imported:

    PYTHONPATH=.../dreamerv3 python tests/data/write_dreamerv3.py

Two environments step side by side and each fills chunks of 8 steps, so that episodes of 6 + e steps
cross files and the files interleave. The state follows s' = s / 2 + a B, the reward is the sum of
the state that it comes with. The last episode of each environment is still running at the end.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import embodied
import numpy as np

B = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], np.float32)
TARGET = Path(__file__).with_name("dreamerv3_replay")


class KnownDynamics(embodied.Env):
    def __init__(self, number):
        self.rng = np.random.default_rng(number)
        self.number, self.episode, self.done = number, -1, True

    @property
    def obs_space(self):
        return {
            "image": embodied.Space(np.uint8, (8, 8, 3)),
            "vector": embodied.Space(np.float32, (3,)),
            "log_extra": embodied.Space(np.float32),
            "reward": embodied.Space(np.float32),
            "is_first": embodied.Space(bool),
            "is_last": embodied.Space(bool),
            "is_terminal": embodied.Space(bool),
        }

    @property
    def act_space(self):
        return {
            "action": embodied.Space(np.float32, (2,), -1, 1),
            "reset": embodied.Space(bool),
        }

    def step(self, action):
        if action["reset"] or self.done:
            self.episode, self.steps, self.done = self.episode + 1, 0, False
            self.state = self.rng.normal(size=3).astype(np.float32)
            return self._observe(is_first=True)
        self.steps += 1
        self.state = (self.state / 2 + action["action"] @ B).astype(np.float32)
        self.done = self.steps == 6 + self.episode
        return self._observe()

    def _observe(self, is_first=False):
        image = np.zeros((8, 8, 3), np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = self.steps, self.episode, self.number
        return {
            "image": image,
            "vector": self.state,
            "log_extra": np.float32(0),
            "reward": np.float32(0 if is_first else self.state.sum()),
            "is_first": is_first,
            "is_last": self.done,
            "is_terminal": self.done and self.number == 1,
        }


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    envs = embodied.BatchEnv([KnownDynamics(0), KnownDynamics(1)], parallel=False)
    driver = embodied.Driver(envs)
    replay = embodied.replay.Uniform(length=4, capacity=1000, directory=TARGET, chunks=8)
    driver.on_step(replay.add)
    rng = np.random.default_rng(7)

    def policy(obs, state):
        return {"action": rng.uniform(-1, 1, (2, 2)).astype(np.float32)}, state

    driver(policy, steps=2 * 29)
    replay.save(wait=True)


if __name__ == "__main__":
    main()
