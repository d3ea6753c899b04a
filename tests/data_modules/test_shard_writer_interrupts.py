"""What a full disk and Ctrl-C in the wrong moment leave: nothing, or whole episodes."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from episode_adding import add, writer

from lawm.data_modules import full_disk
from lawm.data_modules.deferred_interrupt import deferred_interrupt
from lawm.data_modules.shard_reader import read_shard
from lawm.data_modules.streamed_arrays import ChunkedImages
from lawm.errors import LawmError


@pytest.mark.parametrize("images", [True, False])
def test_a_full_disk_is_found_out_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: bool
) -> None:
    obs: dict[str, object] = {"state": np.ones((301, 4))}
    if images:
        obs["camera"] = np.zeros((301, 64, 64, 3), np.uint8)
    free = [full_disk.MARGIN + (5_000_000 if images else 9_000)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with (
        pytest.raises(LawmError, match=r"a\.h5 could not be written: .* MB more are needed, and"),
        writer(tmp_path / "a.h5") as target,
    ):
        for _ in range(2):
            add(target, 300, obs=obs)
            free[0] -= 4_000_000
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_all_the_same_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("errno = 28, No space left on device")

    monkeypatch.setattr(ChunkedImages, "finish", full)
    with (
        pytest.raises(LawmError, match=r"a\.h5 could not be written: .*No space left"),
        writer(tmp_path / "a.h5") as target,
    ):
        add(target, obs={"camera": np.zeros((4, 8, 8, 3), np.uint8)})
    assert not list(tmp_path.iterdir())


def test_an_episode_that_was_cut_is_never_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(LawmError, match=r"not written: adding its episode 1 was broken off"),
        writer(tmp_path / "a.h5") as target,
    ):
        add(target)
        monkeypatch.setattr(target._index, "add", lambda _: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            add(target)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_waits_for_the_end_of_an_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with writer(path) as target:
        take = target._index.add

        def interrupted(episode: object) -> None:
            signal.raise_signal(signal.SIGINT)
            take(episode)  # type: ignore[arg-type]

        monkeypatch.setattr(target._index, "add", interrupted)
        with pytest.raises(KeyboardInterrupt), deferred_interrupt():
            add(target)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert read_shard(path, verify=True).episodes.num_episodes == 1


def test_where_ctrl_c_is_handled_otherwise_nothing_is_changed() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    found: list[str] = []

    def elsewhere() -> None:
        with deferred_interrupt():
            found.append("done")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == ["done"]
