from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from shard_factory import write_shard

from lawm.data_modules.shard_info import describe, facts, plot_returns, text_histogram
from lawm.data_modules.shard_reader import open_shard
from lawm.errors import LawmError


def shown(path: Path) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(describe(open_shard(path)))
    return console.export_text()


def test_the_facts(shard_path: Path) -> None:
    rows = facts(open_shard(shard_path))
    assert rows["episodes"] == "3 of 3 to 5 transitions"
    assert rows["transitions"] == "12"
    assert rows["with actions"] == "2 episodes"
    assert rows["with rewards"] == "2 episodes"
    assert rows["ends"] == "0 terminated, 3 truncated"
    assert rows["obs/state"] == "float32 (3,)"
    assert rows["action"] == "float32 (2,), bounds -1 to 1"
    assert rows["environment"] == "unknown"
    assert rows["time"] == "action repeat 1, control timestep unknown"
    # 0 + 1 + 2 + 3 and 1000 + 1001 + 1002
    assert rows["returns"].startswith("min 6.0, median 1504.5, 90 % 2703.3, best 3003.0")


def test_images_and_what_is_missing(tmp_path: Path) -> None:
    path = write_shard(
        tmp_path / "free.h5", lengths=[4], has_action=False, has_reward=False, image=True
    )
    rows = facts(open_shard(path))
    assert rows["obs/camera"] == "uint8 (8, 8, 3)"
    assert rows["episodes"] == "1 of 4 transitions"
    assert not rows.keys() & {"action", "returns", "physics"}


def test_the_table_and_the_histogram_are_shown(shard_path: Path) -> None:
    text = shown(shard_path)
    assert "three.h5" in text
    assert "returns" in text
    assert "█" in text


def test_no_histogram_without_rewards(tmp_path: Path) -> None:
    text = shown(write_shard(tmp_path / "x.h5", lengths=[4], has_reward=False))
    assert "█" not in text


def test_histogram_by_hand() -> None:
    lines = text_histogram(np.array([0.0, 0.0, 1.0, 4.0]), bins=2).splitlines()
    assert lines == [
        "return  episodes",
        f"    0.00     3 {'█' * 40}",
        f"    2.00     1 {'█' * 13}▍",
    ]


def test_plot(shard_path: Path, tmp_path: Path) -> None:
    shard = open_shard(shard_path)
    plot_returns([shard, shard], tmp_path / "returns.png")
    with Image.open(tmp_path / "returns.png") as picture:
        assert picture.size == (840, 480)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_nothing_to_plot(tmp_path: Path) -> None:
    shard = open_shard(write_shard(tmp_path / "x.h5", lengths=[4], has_reward=False))
    with pytest.raises(LawmError, match=r"x\.h5 has no rewards, so there are no returns to plot"):
        plot_returns([shard], tmp_path / "returns.png")


@pytest.mark.parametrize("name", ["returns.nonsense", "missing/returns.png"])
def test_a_plot_that_cannot_be_written(shard_path: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(LawmError, match=r"The plot .* cannot be written"):
        plot_returns([open_shard(shard_path)], tmp_path / name)
