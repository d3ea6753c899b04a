"""A ball that actions push, filmed: labelled shards and real mp4 files of one system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from video_writers import write_video

from lawm.cli import main
from lawm.data_modules.shard_writer import ShardWriter

SIDE, FILMED = 16, 64  # pixels of what is trained on, and of the camera
STEP = 0.05  # seconds
PUSH, RADIUS = 0.09, 0.14  # of the side, for an action of 1


def episode(rng: np.random.Generator, steps: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pictures (T + 1, 64, 64, 3) and the actions (T, 2)."""
    place = rng.uniform(0.2, 0.8, 2)
    places, actions = [place], []
    for _ in range(steps):
        action = rng.uniform(-1.0, 1.0, 2)
        # An action that would lead out of the picture is turned round, so that each shows
        action = np.where(np.abs(place + PUSH * action - 0.5) < 0.38, action, -action)
        place = place + PUSH * action
        places.append(place)
        actions.append(action)
    y, x = (np.mgrid[:FILMED, :FILMED] + 0.5) / FILMED
    ground, ball = np.array([30, 40, 60]), np.array([240, 200, 40])
    inside = np.array([np.hypot(x - p[0], y - p[1]) < RADIUS for p in places])
    pictures = np.where(inside[..., None], ball, ground).astype(np.uint8)
    return pictures, np.array(actions, np.float32)


def film(folder: Path, num: int, steps: int, seed: int) -> Path:
    """A folder of H.264 files; nothing tells of the actions."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(num):
        pictures, _ = episode(rng, steps)
        write_video(folder / f"{number}.mp4", pictures, fps=1 / STEP, pixel_format="yuv420p")
    return folder


def film_shard(path: Path, num: int, steps: int, seed: int) -> Path:
    """What `lawm data import` makes of such a folder, which stays beside the shard."""
    clips = film(path.with_name("clips"), num, steps, seed)
    words = ["import", str(clips), str(path), "--size", str(SIDE), "--fps", str(1 / STEP)]
    assert main(["data", *words]) == 0
    return path


def record(path: Path, num: int, steps: int, seed: int) -> Path:
    """A shard with actions; its pictures never saw a codec."""
    rng = np.random.default_rng(seed)
    with ShardWriter(
        path, action_low=-np.ones(2), action_high=np.ones(2), control_timestep=STEP
    ) as writer:
        for number in range(num):
            pictures, actions = episode(rng, steps)
            block = FILMED // SIDE
            small = pictures.reshape(steps + 1, SIDE, block, SIDE, block, 3).mean((2, 4))
            writer.add_episode(
                {"pixels": small.round().astype(np.uint8)},
                actions,
                np.zeros(steps),
                terminated=False,
                truncated=True,
                source_id=str(number),
            )
    return path


__all__ = ["film_shard", "record"]
