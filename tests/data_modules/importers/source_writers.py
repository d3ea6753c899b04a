"""Small sources in other people's formats, written as their own tools write them.

Each writer is given :class:`Recording` objects, whose numbers say which episode and step they
belong to, so that an importer that is off by one shows.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

STRIDE = 1000  # a state is STRIDE * episode + step in every dimension
OBS_DIM, ACTION_DIM = 3, 2
IMAGE_SHAPE = (36, 40, 3)  # Minari takes smaller arrays for no images


@dataclass(frozen=True)
class Recording:
    """T transitions and T + 1 observations."""

    state: np.ndarray  # (T + 1, D) float32
    image: np.ndarray  # (T + 1, H, W, C) uint8
    action: np.ndarray  # (T, A) float32, taken at state[t]
    reward: np.ndarray  # (T,) float32
    terminated: bool


def recordings(
    lengths: Sequence[int] = (4, 6, 5, *[3] * 8), terminated: Sequence[int] = (1,)
) -> list[Recording]:
    """Episodes whose numbers count; more than ten, as names of episodes then sort otherwise.

    Action t of episode e is (e + 1, t + 1) / 100, its reward 1 + t / 10.
    """
    made = []
    for episode, length in enumerate(lengths):
        steps = np.arange(length + 1)
        action = np.stack([np.full(length, episode + 1), steps[1:]], 1) / 100
        level = (10 * episode + steps).astype(np.uint8)
        made.append(
            Recording(
                state=np.repeat((STRIDE * episode + steps)[:, None], OBS_DIM, 1).astype(np.float32),
                image=np.ones(IMAGE_SHAPE, np.uint8) * level[:, None, None, None],
                action=action.astype(np.float32),
                reward=(1 + steps[:-1] / 10).astype(np.float32),
                terminated=episode in terminated,
            )
        )
    return made


def write_plain_numpy(path: Path, episodes: Sequence[Recording]) -> Path:
    """Stacked episodes, which must have one length: they are cut to the shortest."""
    steps = min(len(episode.action) for episode in episodes)
    np.savez(
        path,
        obs=np.stack([episode.state[: steps + 1] for episode in episodes]),
        act=np.stack([episode.action[:steps] for episode in episodes]),
        rew=np.stack([episode.reward[:steps] for episode in episodes]),
    )
    return path


def write_d4rl(
    path: Path, episodes: Sequence[Recording], *, final: bool = True, timeouts: bool = True
) -> Path:
    """As D4RL's collection scripts do: lists of all steps, gzip."""
    data: dict[str, list[Any]] = defaultdict(list)
    for episode in episodes:
        for step in range(len(episode.action)):
            last = step == len(episode.action) - 1
            data["observations"].append(episode.state[step])
            data["actions"].append(episode.action[step])
            data["rewards"].append(episode.reward[step])
            data["terminals"].append(last and episode.terminated)
            data["timeouts"].append(last and not episode.terminated)
            data["next_observations"].append(episode.state[step + 1])
            data["infos/qpos"].append(episode.state[step, :1])
    for name, wanted in (("next_observations", final), ("timeouts", timeouts)):
        if not wanted:
            del data[name]
    kinds = {"terminals": np.bool_, "timeouts": np.bool_}
    with h5py.File(path, "w") as file:
        for name, rows in data.items():
            values = np.array(rows).astype(kinds.get(name, np.float32))
            file.create_dataset(name, data=values, compression="gzip")
    return path


def write_ogbench(path: Path, episodes: Sequence[Recording], *, image: bool = False) -> Path:
    """As OGBench's generation scripts do: T + 1 rows, the last with an unused action."""
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    for episode in episodes:
        rows = len(episode.state)
        parts["observations"].append(episode.image if image else episode.state)
        parts["actions"].append(np.concatenate([episode.action, episode.action[-1:]]))
        parts["terminals"].append(np.arange(rows) == rows - 1)
        parts["qpos"].append(episode.state[:, :2])
    np.savez_compressed(path, **{name: np.concatenate(rows) for name, rows in parts.items()})
    return path


def write_laom(path: Path, episodes: Sequence[Recording]) -> Path:
    """A group for each trajectory, as many actions as observations."""
    with h5py.File(path, "w") as file:
        file.attrs.update(domain_name="walker", task_name="run", difficulty="easy", img_hw=64)
        for index, episode in enumerate(episodes):
            group = file.create_group(str(index))
            group.create_dataset("obs", data=episode.image[:-1])
            group.create_dataset("states", data=episode.state[:-1])
            group.create_dataset("actions", data=episode.action)
            group.attrs["traj_return"] = float(episode.reward.sum())
    return path


def write_robomimic(
    path: Path,
    episodes: Sequence[Recording],
    *,
    final: bool = True,
    obs: bool = True,
    masks: dict[str, list[str]] | None = None,
) -> Path:
    """As robomimic's `dataset_states_to_obs.py` does; the raw demonstrations have no `obs`."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for index, episode in enumerate(episodes):
            group = data.create_group(f"demo_{index}")
            steps = len(episode.action)
            group.create_dataset("actions", data=episode.action.astype(np.float64))
            group.create_dataset("states", data=episode.state[:-1].astype(np.float64))
            group.attrs["num_samples"] = steps
            if not obs:
                continue
            done = np.zeros(steps, np.int64)
            done[-1] = episode.terminated
            group.create_dataset("rewards", data=episode.reward.astype(np.float64))
            group.create_dataset("dones", data=done)
            keys = {"agentview_image": episode.image, "robot0_eef_pos": episode.state}
            for key, rows in keys.items():
                group.create_dataset(f"obs/{key}", data=rows[:-1], compression="gzip")
                if final:
                    group.create_dataset(f"next_obs/{key}", data=rows[1:], compression="gzip")
        for name, demos in (masks or {}).items():
            file[f"mask/{name}"] = np.array(demos, dtype="S")
        data.attrs["total"] = sum(len(episode.action) for episode in episodes)
        env = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(env, indent=4)
    return path


def write_minari(
    folder: Path,
    episodes: Sequence[Recording],
    *,
    kind: str = "state",
    jpeg: bool = True,
    data_format: str = "hdf5",
    name: str = "made/up-v0",
) -> Path:
    """With Minari itself.

    Args:
        folder: Where Minari keeps its data sets.
        episodes: What they hold.
        kind: Of the observations: "state", "image", "dict" or "tuple".
        jpeg: Whether Minari may encode images.
        data_format: Of Minari's storage.
        name: Of the data set.
    """
    import minari
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    vector = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    picture = spaces.Box(0, 255, IMAGE_SHAPE, np.uint8)
    space: spaces.Space[Any] = {
        "state": vector,
        "image": picture,
        "dict": spaces.Dict({"robot": spaces.Dict({"pos": vector}), "camera": picture}),
        "tuple": spaces.Tuple((vector, spaces.Discrete(5000))),
    }[kind]

    def observations(episode: Recording) -> Any:
        return {
            "state": episode.state,
            "image": episode.image,
            "dict": {"robot": {"pos": episode.state}, "camera": episode.image},
            "tuple": (episode.state, episode.state[:, 0].astype(np.int64)),
        }[kind]

    buffers = [
        EpisodeBuffer(
            observations=observations(episode),
            actions=episode.action,
            rewards=episode.reward.tolist(),
            terminations=[False] * (len(episode.action) - 1) + [episode.terminated],
            truncations=[False] * (len(episode.action) - 1) + [not episode.terminated],
            infos={"step": np.arange(len(episode.state))},
        )
        for episode in episodes
    ]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that data set has no environment
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        minari.create_dataset_from_buffers(
            dataset_id=name,
            buffer=buffers,
            observation_space=space,
            action_space=spaces.Box(-2.0, 2.0, (ACTION_DIM,), np.float32),
            data_format=data_format,
            jpeg_encoding=jpeg,
            author="nobody",
            author_email="nobody@example.org",
            code_permalink="https://example.org",
            algorithm_name="counting",
        )
    return folder / name


Writer = Callable[[Path, Sequence[Recording]], Path]
SOURCES: dict[str, Writer] = {
    "numpy": lambda folder, made: write_plain_numpy(folder / "a.npz", made),
    "d4rl": lambda folder, made: write_d4rl(folder / "a.hdf5", made),
    "d4rl, no final": lambda folder, made: write_d4rl(folder / "a.hdf5", made, final=False),
    "minari": lambda folder, made: write_minari(folder, made),
    "minari, dict": lambda folder, made: write_minari(folder, made, kind="dict", jpeg=False),
    "minari, tuple": lambda folder, made: write_minari(folder, made, kind="tuple"),
    "robomimic": lambda folder, made: write_robomimic(folder / "a.hdf5", made),
    "robomimic, no final": lambda folder, made: write_robomimic(
        folder / "a.hdf5", made, final=False
    ),
    "ogbench": lambda folder, made: write_ogbench(folder / "a.npz", made),
    "ogbench, image": lambda folder, made: write_ogbench(folder / "a.npz", made, image=True),
    "laom": lambda folder, made: write_laom(folder / "a.hdf5", made),
}
