from __future__ import annotations

from pathlib import Path

import pytest
from shard_factory import write_shard


@pytest.fixture
def shard_path(tmp_path: Path) -> Path:
    """Three episodes: labelled, action-free, labelled without rewards."""
    return write_shard(
        tmp_path / "three.h5",
        lengths=[4, 3, 5],
        has_action=[True, False, True],
        has_reward=[True, True, False],
    )


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    """Twenty episodes of counter values."""
    lengths = [6 + episode % 5 for episode in range(20)]
    return write_shard(tmp_path / "counters.h5", lengths=lengths)
