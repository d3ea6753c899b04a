"""The shard reader as a target of the fuzzer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lawm.benchmarks.fuzz_bytes import mutate_bytes
from lawm.benchmarks.fuzz_hdf5 import mutate_hdf5
from lawm.benchmarks.fuzz_target import FuzzTarget
from lawm.data_modules.shard_reader import read_shard, read_shard_header
from lawm.data_modules.shard_writer import ShardWriter
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec

LENGTHS = (5, 3)  # transitions of the episodes: the fewer numbers, the more often structure is hit


def make_shards(folder: Path) -> list[Path]:
    """States alone with everything known; states and rendered images, partly labelled."""
    rng = np.random.default_rng(0)
    paths = [folder / "states.h5", folder / "images.h5"]
    for path in paths:
        with_images = path.stem == "images"
        renderer = RendererSpec(4, 4, {"camera": "0"}) if with_images else None
        ones = np.ones(2)
        with ShardWriter(path, action_low=-ones, action_high=ones, renderer=renderer) as writer:
            for number, length in enumerate(LENGTHS):
                obs = {"state": rng.normal(size=(length + 1, 3))}
                if with_images:
                    obs["camera"] = rng.integers(0, 255, (length + 1, 4, 4, 3), np.uint8)
                is_known = number == 0 or not with_images
                writer.add_episode(
                    obs,
                    rng.uniform(-1.0, 1.0, (length, 2)) if is_known else None,
                    rng.normal(size=length) if is_known else None,
                    terminated=number == 0,
                    truncated=number == 1,
                    source_id=str(number),
                    physics=rng.normal(size=(length + 1, 2)) if with_images else None,
                )
    return paths


def read_file(path: Path, scratch: Path) -> None:
    """The header, all arrays, all arrays with checksums; each, whatever the others say."""
    del scratch
    errors: list[LawmError] = []
    for read in (read_shard_header, read_shard, lambda p: read_shard(p, verify=True)):
        try:
            read(path)
        except LawmError as error:
            errors.append(error)
    if errors:
        raise errors[0]


TARGETS = (FuzzTarget("shard", make_shards, read_file, (mutate_hdf5, mutate_bytes)),)

__all__ = ["TARGETS", "make_shards", "read_file"]
