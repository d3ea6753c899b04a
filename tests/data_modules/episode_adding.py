"""A writer of shards, and episodes that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lawm.data_modules.shard_writer import ShardWriter


def writer(path: Path, **options: Any) -> ShardWriter:
    return ShardWriter(path, action_low=[-1.0, -2.0], action_high=[1.0, 2.0], **options)


def add(target: ShardWriter, length: int = 3, **changes: Any) -> None:
    """An episode that is right but for what is given."""
    episode = {
        "obs": {"state": np.ones((length + 1, 4))},
        "action": np.zeros((length, 2)),
        "reward": np.ones(length),
        "terminated": False,
        "truncated": True,
        "source_id": "made up",
    }
    target.add_episode(**(episode | changes))
