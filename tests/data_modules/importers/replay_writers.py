"""Replay and trajectories in the formats of agents and data sets that cannot be installed here.

Every writer does what the code of its project does, read there; the numbers are those of the
recordings in ``source_writers``. DreamerV2, a release of DreamerV3, stable-worldmodel and LeRobot
wrote files of their own, see ``tests/data``.
"""

from __future__ import annotations

import string
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from source_writers import Recording

TIME = "20260102T0304"
EXPLORATION_REWARD = 77.0  # of an exploring agent, not of the task


def led_into(episode: Recording) -> dict[str, np.ndarray]:
    """T + 1 rows: what led into each observation, zeros in row 0."""
    rows = len(episode.state)
    return {
        "action": np.concatenate([np.zeros_like(episode.action[:1]), episode.action]),
        "reward": np.concatenate([np.zeros(1, np.float32), episode.reward]),
        "is_first": np.arange(rows) == 0,
        "is_last": np.arange(rows) == rows - 1,
        "is_terminal": (np.arange(rows) == rows - 1) & episode.terminated,
        "discount": np.where((np.arange(rows) == rows - 1) & episode.terminated, 0.0, 1.0).astype(
            np.float32
        ),
    }


def write_dreamer_torch(folder: Path, episodes: Sequence[Recording]) -> Path:
    """dreamerv3-torch, tools.py: add_to_cache and save_episodes."""
    folder.mkdir()
    for number, episode in enumerate(episodes):
        data = {"image": episode.image, "state": episode.state, **led_into(episode)}
        data["logprob"] = np.zeros(len(episode.state), np.float32)
        name = f"{TIME}{number:02d}-{uuid.UUID(int=number).hex}-{len(episode.state)}.npz"
        np.savez_compressed(folder / name, **data)
    return folder


def write_vd4rl_npz(folder: Path, episodes: Sequence[Recording], *, old: bool = False) -> Path:
    """V-D4RL at 64 pixels, offlinedv2; older files have no ``is_terminal``."""
    folder.mkdir()
    for number, episode in enumerate(episodes):
        data = {"image": episode.image, **led_into(episode)}
        if old:
            del data["is_terminal"]
        name = f"{TIME}{number:02d}-{uuid.UUID(int=number).hex}-{len(episode.state)}.npz"
        np.savez_compressed(folder / name, **data)
    return folder


def write_vd4rl_hdf5(folder: Path, episodes: Sequence[Recording]) -> Path:
    """V-D4RL at 84 pixels, conversion_scripts/npz_to_hdf5.py: ``step_type`` is float64."""
    folder.mkdir()
    for shard, part in enumerate(filter(None, (episodes[:2], episodes[2:]))):
        rows = [led_into(episode) for episode in part]
        step_type = [np.where(r["is_first"], 0.0, np.where(r["is_last"], 2.0, 1.0)) for r in rows]
        data: dict[str, list[np.ndarray]] = {
            "observation": [episode.image.transpose(0, 3, 1, 2) for episode in part],
            "step_type": step_type,
            **{name: [r[name] for r in rows] for name in ("action", "reward", "discount")},
        }
        with h5py.File(folder / f"shard_{shard}.hdf5", "w") as file:
            for name, values in data.items():
                file.create_dataset(name, data=np.concatenate(values), compression="gzip")
    return folder


def write_exorl(folder: Path, episodes: Sequence[Recording]) -> Path:
    """URLB's replay_buffer.py, which made ExORL's data."""
    folder.mkdir()
    for number, episode in enumerate(episodes):
        rows = led_into(episode)
        reward = np.where(rows["is_first"], 0.0, EXPLORATION_REWARD).astype(np.float32)
        np.savez_compressed(
            folder / f"episode_{number:06d}_{len(episode.action)}.npz",
            observation=episode.state,
            action=rows["action"],
            reward=reward[:, None],
            discount=rows["discount"][:, None],
            physics=episode.state[:, :2].astype(np.float64),
        )
    return folder


def write_aime(folder: Path, episodes: Sequence[Recording], *, version: int = 2) -> Path:
    """Version 2: aimev2/utils.py, HDF5 with lzf; version 1: aime/env.py, SaveTrajectories, npz."""
    folder.mkdir()
    for number, episode in enumerate(episodes):
        rows = led_into(episode)
        data = {"image": episode.image, "state": episode.state, "pre_action": rows["action"]}
        # expand_dim_equal_ gives every array but the image as many axes
        flags = ("reward", "is_first", "is_last", "is_terminal")
        data |= {name: rows[name][:, None] for name in flags}
        if version == 1:
            np.savez_compressed(folder / f"{number}.npz", **data)
            continue
        with h5py.File(folder / f"{number}.hdf5", "w") as file:
            for name, values in data.items():
                file.create_dataset(name, data=values, compression="lzf")
    return folder


def write_dreamerv3(
    folder: Path, episodes: Sequence[Recording], *, chunk: int = 5, workers: int = 2
) -> Path:
    """The current replay of DreamerV3: embodied/core/driver.py, replay.py and chunk.py.

    The episodes are dealt out to the workers, which step in turn.
    """
    folder.mkdir()
    streams = [list(_steps(episodes[worker::workers])) for worker in range(workers)]
    for worker, steps in enumerate(streams):
        parts = [steps[start : start + chunk] for start in range(0, len(steps), chunk)]
        ids = [_base62(1 + worker + workers * number) for number in range(len(parts))]
        for number, part in enumerate(parts):
            successor = ids[number + 1] if number + 1 < len(ids) else _base62(10**6 + worker)
            moment = f"{TIME}F{number:03d}{worker:03d}"
            data = {name: np.stack([step[name] for step in part]) for name in part[0]}
            data["stepid"] = np.zeros((len(part), 20), np.uint8)
            data["dyn/deter"] = np.zeros((len(part), 4), np.float32)
            name = f"{moment}-{ids[number]}-{successor}-{len(part)}.npz"
            np.savez_compressed(folder / name, **data)
    return folder


def _steps(episodes: Sequence[Recording]) -> Iterator[dict[str, Any]]:
    """The action that is chosen at an observation, zeros at the last one, with the reward there."""
    for episode in episodes:
        arrived = led_into(episode)
        chosen = np.concatenate([episode.action, np.zeros_like(episode.action[:1])])
        for row in range(len(episode.state)):
            yield {
                "image": episode.image[row],
                "state": episode.state[row],
                "reward": arrived["reward"][row],
                **{name: arrived[name][row] for name in ("is_first", "is_last", "is_terminal")},
                "action": chosen[row],
            }


def _base62(number: int) -> str:
    """22 digits, as elements.UUID writes them."""
    digits = string.digits + string.ascii_letters
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = digits[digit] + text
    return text.rjust(22, "0")


REPLAYS = {
    "dreamerv2, torch": lambda folder, made: write_dreamer_torch(folder / "episodes", made),
    "dreamerv2, v-d4rl": lambda folder, made: write_vd4rl_npz(folder / "64px", made),
    "dreamerv2, old v-d4rl": lambda folder, made: write_vd4rl_npz(folder / "64px", made, old=True),
    "v-d4rl": lambda folder, made: write_vd4rl_hdf5(folder / "84px", made),
    "exorl": lambda folder, made: write_exorl(folder / "buffer", made),
    "aime": lambda folder, made: write_aime(folder / "trajectories", made),
    "aime, npz": lambda folder, made: write_aime(folder / "trajectories", made, version=1),
    "dreamerv3": lambda folder, made: write_dreamerv3(folder / "replay", made),
}
