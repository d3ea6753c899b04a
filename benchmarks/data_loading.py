"""How fast windows are read: lawm in each kind of storage, other libraries, np.memmap, memcpy.

    python -m lawm.benchmarks.data_loading --json results/data_loading.json

Every reader gives the same batches of windows, observations, actions and rewards stacked into
tensors, in turn in the same process; the fastest round of each counts, as a shared machine slows
down any of them. All files are in the page cache. What is not installed (stable-worldmodel, Minari)
is left out and said so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from lawm.benchmarks.peer_readers import Episodes, Read, peer_readers
from lawm.data_modules.episode_store import EpisodeStore
from lawm.data_modules.shard_file import checksum
from lawm.data_modules.shard_format import fixed_text
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.shard_writer import ShardWriter
from lawm.data_modules.store_loading import load_store
from lawm.data_modules.trajectory_split import EpisodeSplit

STEPS = 500  # of an episode
WINDOW = 50
BATCH = 32


@dataclass(frozen=True)
class Row:
    """One reader on one kind of data."""

    data: str
    reader: str
    windows_per_second: float
    megabytes_per_second: float
    file_megabytes: float


def make_episodes(kind: str, num: int) -> Episodes:
    """States: 24 numbers, white noise. Images: 64 x 64 x 3, a moving scene with flat areas."""
    rng = np.random.default_rng(0)
    episodes: Episodes = []
    for _ in range(num):
        if kind == "states":
            obs: NDArray[Any] = rng.normal(size=(STEPS + 1, 24)).astype(np.float32)
        else:
            obs = _scene(rng)
        action = rng.uniform(-1, 1, (STEPS, 6)).astype(np.float32)
        reward = rng.normal(size=STEPS).astype(np.float32)
        episodes.append({"obs": obs, "action": action, "reward": reward})
    return episodes


def _scene(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A checkered floor that scrolls under some moving boxes, as a renderer would draw it."""
    y, x = np.mgrid[:64, :64]
    speeds, sizes = rng.uniform(-0.7, 0.7, (6, 2)), rng.integers(4, 14, (6, 2))
    colours, centres = rng.integers(0, 255, (6, 3)), rng.uniform(8, 56, (6, 2))
    frames = np.empty((STEPS + 1, 64, 64, 3), np.uint8)
    for t in range(STEPS + 1):
        floor = 60 + 40 * (((x + t) // 8 + y // 8) % 2)
        frame = np.where(y[..., None] > 40, floor[..., None], 120 + y[..., None])
        frame = np.repeat(frame, 3, axis=2)
        for centre, speed, size, colour in zip(centres, speeds, sizes, colours, strict=True):
            at = (centre + speed * t) % 64
            inside = (np.abs(x - at[0]) < size[0]) & (np.abs(y - at[1]) < size[1])
            frame[inside] = colour
        frames[t] = frame
    return frames


def lawm_readers(episodes: Episodes, folder: Path) -> tuple[dict[str, Read], dict[str, float]]:
    """Our store in each kind of storage, and the megabytes of its files."""
    path = folder / "lawm.h5"
    with ShardWriter(path, action_low=-np.ones(6), action_high=np.ones(6)) as writer:
        for episode in episodes:
            writer.add_episode(
                {"obs": episode["obs"]},
                episode["action"],
                episode["reward"],
                terminated=False,
                truncated=True,
                source_id="",
            )
    files = {"": path}
    if episodes[0]["obs"].dtype == np.uint8:
        files = {}
        for name, options in IMAGE_STORAGE.items():
            files[f", {name}"] = _rewritten(path, folder / f"{name}.h5", options)
    readers: dict[str, Read] = {}
    sizes: dict[str, float] = {}
    nothing = np.array([], np.int64)
    for suffix, file in files.items():
        split = EpisodeSplit(nothing, labelled=np.arange(len(episodes)), free=nothing)
        for storage in ("memory", "mapped", "stream"):
            is_same = suffix != next(iter(files)) and storage != "stream"
            if is_same:  # once it is unpacked it does not matter how it was packed
                continue
            store = load_store(
                read_headers([file], []),
                split,
                rewards_on_action_free=False,
                storage=storage,
                cache=folder / "cache",
            )
            name = f"lawm {storage}{suffix if storage == 'stream' else ''}"

            readers[name], sizes[name] = partial(_windows, store), file.stat().st_size / 1e6
    return readers, sizes


def _windows(store: EpisodeStore, numbers: NDArray[np.int64], steps: NDArray[np.int64]) -> object:
    return store.windows(store.offset[numbers] + steps, np.array([], np.int64), WINDOW)


IMAGE_STORAGE: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "gzip 1, chunks of 10": {"chunks": 10, "compression": "gzip", "compression_opts": 1},
    "gzip 1, chunks of 1": {"chunks": 1, "compression": "gzip", "compression_opts": 1},
    "gzip 4, chunks of 50": {"chunks": 50, "compression": "gzip", "compression_opts": 4},
    "lzf, chunks of 10": {"chunks": 10, "compression": "lzf"},
}


def _rewritten(path: Path, target: Path, options: dict[str, Any]) -> Path:
    """A copy of a shard whose images are stored otherwise."""
    with h5py.File(path) as source, h5py.File(target, "w") as file:
        for name in source:
            source.copy(name, file)
        file.attrs.update(dict(source.attrs))
        frames = source["obs/obs"][()]
        if "chunks" in options:
            options = {**options, "chunks": (options["chunks"], *frames.shape[1:])}
        del file["obs/obs"]
        file.create_dataset("obs/obs", data=frames, **options)
        file["obs/obs"].attrs["sha256"] = fixed_text(checksum(frames))
    return target


def plain_readers(episodes: Episodes, folder: Path) -> dict[str, Read]:
    """np.memmap of .npy files, sliced window by window; and the bytes alone, by memcpy."""
    arrays = {
        key: np.concatenate([episode[key] for episode in episodes])
        for key in ("obs", "action", "reward")
    }
    for key, values in arrays.items():
        np.save(folder / f"{key}.npy", values)
    maps = {
        key: np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False) for key in arrays
    }
    rows = {"obs": STEPS + 1, "action": STEPS, "reward": STEPS}
    extra = {"obs": 1, "action": 0, "reward": 0}

    def memmap(numbers: NDArray[np.int64], steps: NDArray[np.int64]) -> object:
        batch = {}
        for key, values in maps.items():
            first = (numbers * rows[key] + steps).tolist()
            length = WINDOW + extra[key]
            batch[key] = torch.from_numpy(np.stack([values[a : a + length] for a in first]))
        return batch

    source = {key: values[: BATCH * (WINDOW + extra[key])].copy() for key, values in arrays.items()}

    def memcpy(numbers: NDArray[np.int64], steps: NDArray[np.int64]) -> object:
        del numbers, steps
        return [values.copy() for values in source.values()]

    return {"np.memmap": memmap, "memcpy": memcpy}


def measure(kind: str, num: int, rounds: int, batches: int) -> Iterator[Row]:
    """Rows of all readers, timed in turn."""
    episodes = make_episodes(kind, num)
    with tempfile.TemporaryDirectory(prefix="lawm-bench-") as name:
        folder = Path(name)
        readers, sizes = lawm_readers(episodes, folder)
        readers |= peer_readers(episodes, folder, WINDOW) | plain_readers(episodes, folder)
        for peer, pattern in PEER_FILES.items():
            files = [f for path in folder.glob(pattern) for f in [path, *path.rglob("*")]]
            sizes[peer] = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
        rng = np.random.default_rng(1)
        seconds: dict[str, list[float]] = {reader: [] for reader in readers}
        for number in range(rounds + 1):
            for reader, read in readers.items():
                start = time.perf_counter()
                for _ in range(batches):
                    episode_numbers = rng.integers(num, size=BATCH)
                    read(episode_numbers, rng.integers(STEPS - WINDOW, size=BATCH))
                if number > 0:  # the first round warms up
                    seconds[reader].append(time.perf_counter() - start)
        step = episodes[0]
        window = (WINDOW + 1) * step["obs"][0].nbytes + WINDOW * (step["action"][0].nbytes + 4)
        for reader, times in seconds.items():
            rate = BATCH * batches / min(times)
            yield Row(kind, reader, rate, rate * window / 1e6, sizes.get(reader, 0.0))


PEER_FILES = {
    "stable-worldmodel HDF5": "swm.h5",
    "stable-worldmodel Lance": "swm.lance",
    "Minari": "minari",
    "np.memmap": "*.npy",
}


def main(argv: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m lawm.benchmarks.data_loading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--episodes", type=int, default=400, help="of states, 500 steps each (%(default)s)")
    add("--image_episodes", type=int, default=24, help="of images (%(default)s)")
    add("--rounds", type=int, default=9, help="timed rounds; the fastest counts (%(default)s)")
    add("--batches", type=int, default=10, help="of 32 windows in a round (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the rows here too")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for kind, num in (("states", args.episodes), ("images", args.image_episodes)):
        batches = args.batches if kind == "states" else max(1, args.batches // 5)
        for row in measure(kind, num, args.rounds, batches):
            rows.append(row)
            print(
                f"{row.data:8} {row.reader:40} {row.windows_per_second:12,.0f} windows/s "
                f"{row.megabytes_per_second:8,.0f} MB/s {row.file_megabytes:8.1f} MB",
                flush=True,
            )
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()


__all__ = ["Row", "main", "make_episodes", "measure"]
