"""Is a shard sound? Everything in it is read, in a process of its own.

Data that are damaged on purpose may crash the library, keep it busy or make it take all memory even
where the structure is sound. The process that reads may do so; this one tells it in a sentence.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lawm.data_modules.shard_file import ShardArray
from lawm.data_modules.shard_reader import OpenShard, open_shard
from lawm.data_modules.structure_probe import PROBE
from lawm.errors import LawmError
from lawm.python_process import import_environment, python_command

PATIENCE = 60.0  # seconds, and some more by the size of the file
SLOWEST = 5e6  # bytes a second
ADDRESS_SPACE = 4 << 30
ADVICE = "Take it from its source again."


@dataclass(frozen=True)
class Verdict:
    """What was found; the counts are zero where the shard could not be read."""

    path: str
    ok: bool
    error: str | None = None  # a sentence
    warnings: list[str] = field(default_factory=list)
    episodes: int = 0
    transitions: int = 0
    with_action: int = 0  # episodes
    with_reward: int = 0
    terminated: int = 0
    truncated: int = 0
    observations: dict[str, str] = field(default_factory=dict)  # shape and type of a step, by key
    checksum: str = ""


def check_shards(paths: Sequence[Path]) -> list[Verdict]:
    """The verdict on each shard."""
    return [_isolated(path) for path in paths]


def check_here(path: Path) -> Verdict:
    """The verdict on a shard, read in this process."""
    try:
        with open_shard(path) as shard:
            shard.check(hashes=True)
            index, arrays = shard.episodes, shard.arrays
            ends = {
                name: sum(int(rows.sum()) for _, rows in arrays[name].blocks())
                for name in ("terminated", "truncated")
            }
            warnings: list[str] = []
            if "action" in arrays and (beyond := _beyond_bounds(shard.arrays["action"], shard)):
                warnings.append(
                    f"{beyond} actions lie outside of the bounds of {path}; training clips them."
                )
            unfinished = index.num_episodes - ends["terminated"] - ends["truncated"]
            if unfinished > 0:
                warnings.append(
                    f"{unfinished} episodes of {path} end neither by terminated nor by truncated; "
                    "they count as cut off."
                )
            return Verdict(
                path=str(path),
                ok=True,
                warnings=warnings,
                episodes=index.num_episodes,
                transitions=int(index.lengths.sum()),
                with_action=int(index.has_action.sum()),
                with_reward=int(index.has_reward.sum()),
                terminated=ends["terminated"],
                truncated=ends["truncated"],
                observations={
                    key: f"{list(array.step_shape)} {array.dtype}"
                    for key, array in shard.obs.items()
                },
                checksum=shard.meta.checksum,
            )
    except LawmError as error:
        return Verdict(path=str(path), ok=False, error=str(error))


def _isolated(path: Path) -> Verdict:
    try:
        if path.is_file():
            PROBE.check(path, ADVICE)
    except LawmError as error:
        return Verdict(path=str(path), ok=False, error=str(error))
    command = python_command("-m", "lawm.data_modules.shard_verdict", str(path))
    environment = import_environment()
    size = path.stat().st_size if path.exists() else 0
    patience = PATIENCE + size / SLOWEST
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False, env=environment
        )
        return Verdict(**json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        why = f"reading it did not end within {time.monotonic() - start:.0f} s"
    except (ValueError, TypeError):
        lines = done.stderr.strip().splitlines()
        why = f"reading it ended the process with {done.returncode} ({lines[-1:]})"
    why += ". The file is damaged or made to do harm"
    return Verdict(path=str(path), ok=False, error=f"{path} cannot be checked: {why}. {ADVICE}")


def _beyond_bounds(action: ShardArray, shard: OpenShard) -> int:
    low, high = shard.meta.action_low, shard.meta.action_high
    margin = 1e-5 * (high - low)  # float32 in a file, float64 in an environment
    with np.errstate(invalid="ignore"):
        return sum(
            int(((rows < low - margin) | (rows > high + margin)).any(axis=1).sum())
            for _, rows in action.blocks()
        )


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


if __name__ == "__main__":
    _limit_memory()
    PROBE.trust(Path(sys.argv[1]))
    print(json.dumps(asdict(check_here(Path(sys.argv[1])))))


__all__ = ["Verdict", "check_here", "check_shards"]
