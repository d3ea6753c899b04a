"""How much memory reading takes as the data grow, from 10^5 to 10^8 transitions.

    python -m lawm.benchmarks.data_memory --json results/data_memory.json

States of 24 numbers and actions of 6, episodes of 1000 steps. Each size and kind of storage has a
process of its own, which loads the data, computes the statistics of the observations and draws
batches. Up to a million transitions are one shard; the larger ones are SIMULATED by naming that
shard ten or a hundred times, so the index and everything that is read grow, and the disk does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lawm.benchmarks.fuzz_worker import peak_memory
from lawm.data_modules.shard_writer import ShardWriter

STEPS = 1000  # of an episode
LARGEST_SHARD = 1_000_000  # transitions
MOST_IN_MEMORY = 10_000_000  # transitions: 1.3 GB
NUM_BATCHES = 500


def make_shard(path: Path, transitions: int) -> None:
    """Episodes of normal states and uniform actions."""
    rng = np.random.default_rng(0)
    with ShardWriter(path, action_low=-np.ones(6), action_high=np.ones(6)) as writer:
        for _ in range(transitions // STEPS):
            writer.add_episode(
                {"state": rng.normal(size=(STEPS + 1, 24))},
                rng.uniform(-1, 1, (STEPS, 6)),
                rng.normal(size=STEPS),
                terminated=False,
                truncated=True,
                source_id="",
            )


def use(path: Path, times: int, storage: Literal["memory", "mapped", "stream"]) -> dict[str, Any]:
    """Load a shard some times over, draw batches, and say what that took."""
    import torch

    from lawm.data_modules.shard_headers import read_headers
    from lawm.data_modules.store_loading import load_store
    from lawm.data_modules.trajectory_split import EpisodeSplit
    from lawm.data_modules.window_sampler import WindowSampler

    torch.set_num_threads(1)
    before = _peak()
    start = time.perf_counter()
    headers = read_headers([path], []) * times
    episodes = np.arange(sum(header.episodes.num_episodes for header in headers))
    split = EpisodeSplit(
        held_out=episodes[:0], labelled=episodes[::10], free=np.setdiff1d(episodes, episodes[::10])
    )
    store = load_store(headers, split, rewards_on_action_free=False, storage=storage)
    store.observation_specs(range(len(episodes)))
    loading = time.perf_counter() - start
    sampler = WindowSampler(
        store.window_pool(store.labelled, 50),
        store.window_pool(store.free, 50),
        batch_size=32,
        labelled_ratio=0.5,
        seed=0,
    )
    start = time.perf_counter()
    for number in range(NUM_BATCHES):
        store.windows(*sampler.rows(number), 50)
    drawing = time.perf_counter() - start
    return {
        "storage": storage,
        "transitions": len(episodes) * STEPS,
        "shards": times,
        "data_mb": round(sum(header.num_bytes for header in headers) / 1e6),
        "peak_mb": round(_peak()),
        "peak_above_imports_mb": round(_peak() - before),
        "loading_seconds": round(loading, 1),
        "windows_per_second": round(32 * NUM_BATCHES / drawing),
    }


def _peak() -> float:
    return peak_memory() / 1e6


def main(argv: list[str] | None = None) -> None:
    """Print and write a row for each size and storage."""
    parser = argparse.ArgumentParser(
        prog="python -m lawm.benchmarks.data_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--exponents", type=int, nargs="+", default=[5, 6, 7, 8], help="of ten: transitions")
    add("--json", type=Path, metavar="FILE", help="write the rows here too")
    add("--use", nargs=3, metavar=("SHARD", "TIMES", "STORAGE"), help="one measurement, here")
    args = parser.parse_args(argv)
    if args.use:
        print(json.dumps(use(Path(args.use[0]), int(args.use[1]), args.use[2])))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lawm-bench-") as folder:
        for exponent in args.exponents:
            transitions = 10**exponent
            size = min(transitions, LARGEST_SHARD)
            path = Path(folder) / f"{size}.h5"
            if not path.exists():
                make_shard(path, size)
            for storage in ("memory", "mapped", "stream"):
                if storage == "memory" and transitions > MOST_IN_MEMORY:
                    continue
                command = [sys.executable, "-m", "lawm.benchmarks.data_memory", "--use"]
                command += [str(path), str(transitions // size), storage]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append(json.loads(done.stdout))
                print(rows[-1], flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()


__all__ = ["main", "make_shard", "use"]
