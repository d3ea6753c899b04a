"""Windows as other libraries read them, each by its own code.

The libraries are imported by name, and one that is not installed is left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Episodes = list[dict[str, NDArray[Any]]]  # obs (T + 1, ...), action (T, A), reward (T,)
Read = Callable[[NDArray[np.int64], NDArray[np.int64]], object]  # episodes (n,), first steps (n,)


def peer_readers(episodes: Episodes, folder: Path, window: int) -> dict[str, Read]:
    """Write the episodes as each library writes them; readers of windows, by name."""
    readers: dict[str, Read] = {}
    for make in (_stable_worldmodel, _minari):
        try:
            readers |= make(episodes, folder, window)
        except ImportError as error:
            print(f"not measured: {error}")
    return readers


def _stable_worldmodel(episodes: Episodes, folder: Path, window: int) -> dict[str, Read]:
    if "stable_worldmodel" not in sys.modules:
        found = importlib.util.find_spec("stable_worldmodel")
        if found is None:
            raise ImportError("stable-worldmodel is not installed")
        # The package imports simulators and models; its readers need neither
        package = types.ModuleType("stable_worldmodel")
        package.__path__ = list(found.submodule_search_locations or [])
        sys.modules["stable_worldmodel"] = package
    formats = "stable_worldmodel.data.formats"
    readers: dict[str, Read] = {}
    for name, module, kind, ending in (
        ("stable-worldmodel HDF5", f"{formats}.hdf5", "HDF5", "h5"),
        ("stable-worldmodel Lance", f"{formats}.lance", "Lance", "lance"),
    ):
        code: Any = importlib.import_module(module)
        path = folder / f"swm.{ending}"
        with getattr(code, f"{kind}Writer")(path) as writer:
            for episode in episodes:
                rows = len(episode["action"])
                column = "pixels" if episode["obs"].dtype == np.uint8 else "state"
                steps = {"action": episode["action"], "reward": episode["reward"]}
                steps[column] = episode["obs"][:rows]
                writer.write_episode({key: list(values) for key, values in steps.items()})
        data = getattr(code, f"{kind}Dataset")(path=path, num_steps=window)
        readers[name] = _by_index(data, window)
    return readers


def _by_index(data: Any, window: int) -> Read:  # noqa: ANN401 (a class of another library)
    """As a DataLoader reads: items by number, stacked."""
    starts = np.array([length - window + 1 for length in data.lengths])
    before = np.cumsum(starts) - starts
    many = getattr(data, "__getitems__", None)

    def read(numbers: NDArray[np.int64], steps: NDArray[np.int64]) -> object:
        indices = (before[numbers] + steps).tolist()
        items = many(indices) if many else [data[index] for index in indices]
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}

    return read


def _minari(episodes: Episodes, folder: Path, window: int) -> dict[str, Read]:
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    minari: Any = importlib.import_module("minari")
    spaces: Any = importlib.import_module("gymnasium.spaces")
    buffers: Any = importlib.import_module("minari.data_collector")
    first = episodes[0]
    is_image = first["obs"].dtype == np.uint8
    low, high = (0, 255) if is_image else (-np.inf, np.inf)
    data = minari.create_dataset_from_buffers(
        dataset_id="bench/windows-v0",
        buffer=[
            buffers.EpisodeBuffer(
                observations=episode["obs"],
                actions=episode["action"],
                rewards=list(episode["reward"]),
                terminations=[False] * len(episode["reward"]),
                truncations=[False] * (len(episode["reward"]) - 1) + [True],
            )
            for episode in episodes
        ],
        observation_space=spaces.Box(low, high, first["obs"].shape[1:], first["obs"].dtype),
        action_space=spaces.Box(-1, 1, first["action"].shape[1:], np.float32),
    )

    def read(numbers: NDArray[np.int64], steps: NDArray[np.int64]) -> object:
        batch = []
        for number, step in zip(numbers.tolist(), steps.tolist(), strict=True):
            episode = data[number]  # whole: Minari has no smaller piece
            batch.append(
                (
                    episode.observations[step : step + window + 1],
                    episode.actions[step : step + window],
                    episode.rewards[step : step + window],
                )
            )
        return [torch.from_numpy(np.stack(parts)) for parts in zip(*batch, strict=True)]

    return {"Minari": read}


__all__ = ["Episodes", "Read", "peer_readers"]
