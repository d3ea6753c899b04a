from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from episode_adding import add, writer
from shard_factory import write_shard

from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError


def test_every_number_and_setting_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "new folder" / "full.h5"
    state = rng.normal(size=(6, 4)).astype(np.float32)
    camera = rng.integers(0, 256, size=(6, 5, 7, 3)).astype(np.uint8)
    action = rng.uniform(-1, 1, size=(5, 2)).astype(np.float32)
    reward = rng.normal(size=5).astype(np.float32)
    physics = rng.normal(size=(6, 9))
    with writer(
        path,
        env_id="dm_control/cheetah-run",
        action_repeat=2,
        control_timestep=0.01,
        provenance={"command": "by hand"},
    ) as target:
        target.add_episode(
            {"state": state, "camera": camera},
            action,
            reward,
            terminated=True,
            truncated=False,
            source_id="Läufer/0",
            physics=physics,
        )
        target.provenance["more"] = 1
    shard = read_shard(path, verify=True)
    assert list(shard.obs) == ["camera", "state"]
    np.testing.assert_array_equal(shard.obs["state"], state)
    np.testing.assert_array_equal(shard.obs["camera"], camera)
    np.testing.assert_array_equal(shard.action, np.vstack([action, [[np.nan, np.nan]]]))
    np.testing.assert_array_equal(shard.reward, np.append(reward, np.nan))
    np.testing.assert_array_equal(shard.physics, physics)
    np.testing.assert_array_equal(shard.terminated, [False, False, False, False, True, False])
    assert not shard.truncated.any()
    assert shard.episodes.source_id == ["Läufer/0"]
    assert shard.episodes.episode_return[0] == pytest.approx(reward.sum())
    assert shard.meta.env_id == "dm_control/cheetah-run"
    assert (shard.meta.action_repeat, shard.meta.control_timestep) == (2, 0.01)
    assert shard.meta.action_low.tolist() == [-1.0, -2.0]
    assert shard.meta.action_high.tolist() == [1.0, 2.0]
    assert shard.meta.provenance == {"command": "by hand", "more": 1}


def test_what_no_episode_has_is_left_out(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "free.h5", lengths=[3, 2], has_action=False, has_reward=False)
    shard = read_shard(path)
    assert shard.action is None
    assert shard.reward is None
    assert shard.physics is None
    assert np.isnan(shard.episodes.episode_return).all()


def test_images_of_any_length_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, size=(n, 4, 5, 3)).astype(np.uint8) for n in (2, 25, 10, 3, 9)]
    with writer(tmp_path / "x.h5") as target:
        for part in parts:
            add(target, len(part) - 1, obs={"camera": part})
    shard = read_shard(tmp_path / "x.h5", verify=True)
    np.testing.assert_array_equal(shard.obs["camera"], np.concatenate(parts))


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    code = f"""
import resource
import numpy as np
from lawm.data_modules.shard_writer import ShardWriter
state, image = np.ones((1001, 64)), np.zeros((1001, 16, 16, 3), np.uint8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ShardWriter({str(tmp_path / "x.h5")!r}, action_low=[-1.0] * 64, action_high=[1.0] * 64) as w:
    for episode in range(160):
        w.add_episode({{"state": state, "image": image}}, state[1:] / 2, np.ones(1000),
                      terminated=False, truncated=True, source_id=str(episode))
        if episode == 40:
            before = peak()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size_of_data = 120 * 1001 * (64 + 64 + 192) * 4 / 1024
    assert float(done.stdout) < 0.2 * size_of_data


def test_states_lie_contiguous_and_the_rest_in_chunks(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "image.h5", lengths=[30, 30], image=True)
    with h5py.File(path) as file:
        assert file["obs/state"].chunks is None
        assert file["action"].chunks is None
        assert file["obs/camera"].chunks == (10, 8, 8, 3)
        assert file["terminated"].compression == "gzip"


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.h5"
    path.write_text("precious")
    with pytest.raises(LawmError, match=r"kept\.h5 exists already and is left as it is"):
        writer(path).__enter__()
    assert path.read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.h5"
    with pytest.raises(LawmError, match="exists already"), writer(path) as target:
        add(target)
        path.write_text("precious")
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_overwrite_replaces(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    path.write_text("old")
    with writer(path, overwrite=True) as target:
        add(target)
    assert read_shard(path).episodes.num_episodes == 1
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writer(tmp_path / "none.h5") as target:
        add(target)
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_and_spares_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.h5"
    path.write_text("old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with (
        pytest.raises(LawmError, match=r"could not be written: .*No space left"),
        writer(path, overwrite=True) as target,
    ):
        add(target)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    code = f"""
import os, signal
import numpy as np
from lawm.data_modules import shard_writer
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
shard_writer.IndexWriter.write = kill
with shard_writer.ShardWriter({str(path)!r}, action_low=[-1.0], action_high=[1.0]) as writer:
    writer.add_episode({{"state": np.ones((3, 2))}}, np.zeros((2, 1)), np.ones(2),
                       terminated=False, truncated=True, source_id="")
"""
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert [left.name.startswith("killed.h5.tmp-") for left in tmp_path.iterdir()] == [True]


def test_no_episode(tmp_path: Path) -> None:
    with (
        pytest.raises(LawmError, match=r"empty\.h5 was not written: there is no whole episode"),
        writer(tmp_path / "empty.h5"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LawmError, match=r"The folder .* cannot be made"):
        writer(tmp_path / "file" / "x.h5").__enter__()


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LawmError, match="cannot be written: no permission in the folder"):
        writer(tmp_path / "x.h5").__enter__()


def test_arrays_are_copied(tmp_path: Path) -> None:
    state = np.ones((4, 4), np.float32)
    with writer(tmp_path / "x.h5") as target:
        add(target, obs={"state": state})
        state[:] = 7.0
    np.testing.assert_array_equal(read_shard(tmp_path / "x.h5").obs["state"], 1.0)
