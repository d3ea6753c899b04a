"""Writes the data set `lerobot_v3/` with LeRobot itself.

Needs lerobot (written with 0.4.4, whose format is v3.0):

    python tests/data/write_lerobot.py

Two episodes of 12 and 9 frames in one parquet and one mp4 file. The state follows s' = s / 2 + a B;
the reward of row t is the sum of the state after it. `observation.images.front` is a video whose
frame t of episode e is grey 16 t + 8 e + 10, `observation.images.wrist` holds PNG pictures of the
same kind.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

B = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], np.float32)
TARGET = Path(__file__).with_name("lerobot_v3")
CAMERA = {"shape": (32, 48, 3), "names": ["height", "width", "channels"]}
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["u", "v"]},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    "observation.images.front": {"dtype": "video", **CAMERA},
    "observation.images.wrist": {"dtype": "image", **CAMERA},
}


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    dataset = LeRobotDataset.create(
        "lawm/tests", fps=10, features=FEATURES, root=TARGET, robot_type="point"
    )
    rng = np.random.default_rng(0)
    for episode, frames in enumerate((12, 9)):
        state = rng.normal(size=3).astype(np.float32)
        for t in range(frames):
            action = rng.uniform(-1.0, 1.0, 2).astype(np.float32)
            after = (state / 2 + action @ B).astype(np.float32)
            picture = np.full((32, 48, 3), 16 * t + 8 * episode + 10, np.uint8)
            dataset.add_frame(
                {
                    "observation.state": state,
                    "action": action,
                    "next.reward": np.array([after.sum()], np.float32),
                    "next.done": np.array([t == frames - 1]),
                    "observation.images.front": picture,
                    "observation.images.wrist": picture,
                    "task": "follow the rule",
                }
            )
            state = after
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()


if __name__ == "__main__":
    main()
