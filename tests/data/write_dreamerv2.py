"""Writes the episodes `dreamerv2_episodes/` with DreamerV2's own driver and replay.

Needs the sources of dreamerv2 (written with 2.2.0) and numpy below 2. Its TensorFlow is not called
here and is replaced by an empty module:

    PYTHONPATH=.../dreamerv2/common python tests/data/write_dreamerv2.py

The state follows s' = s / 2 + a B, the reward is the sum of the state that it comes with.
"""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import numpy as np

sys.modules["tensorflow"] = types.ModuleType("tensorflow")

from driver import Driver  # noqa: E402
from replay import Replay  # noqa: E402

B = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], np.float32)
TARGET = Path(__file__).with_name("dreamerv2_episodes")


class KnownDynamics:
    act_space = types.MappingProxyType({"action": np.zeros(2, np.float32)})

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.episode = -1

    def reset(self):
        self.episode, self.steps = self.episode + 1, 0
        self.state = self.rng.normal(size=3).astype(np.float32)
        return self._observe(is_first=True)

    def step(self, action):
        self.steps += 1
        self.state = (self.state / 2 + action["action"] @ B).astype(np.float32)
        return self._observe()

    def _observe(self, is_first=False):
        image = np.zeros((8, 8, 3), np.uint8)
        image[..., 0], image[..., 1] = self.steps, self.episode
        is_last = self.steps == 6 + self.episode
        return {
            "image": image,
            "vector": self.state,
            "reward": 0.0 if is_first else float(self.state.sum()),
            "is_first": is_first,
            "is_last": is_last,
            "is_terminal": is_last and self.episode == 1,
        }


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    driver, replay = Driver([KnownDynamics()]), Replay(TARGET)
    driver.on_step(replay.add_step)
    driver.on_reset(replay.add_step)
    rng = np.random.default_rng(7)
    driver(
        lambda obs, state: ({"action": rng.uniform(-1, 1, (1, 2)).astype(np.float32)}, state),
        episodes=3,
    )


if __name__ == "__main__":
    main()
