from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from shard_factory import write_shard

from lawm.data_modules.shard_reader import read_shard, read_shard_header
from lawm.errors import LawmError


def test_reads_what_was_written(shard_path: Path) -> None:
    shard = read_shard(shard_path, verify=True)
    steps = [0, 1, 2, 3, 4, 1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003, 2004, 2005]
    np.testing.assert_array_equal(
        shard.obs["state"], np.repeat(np.array(steps)[:, None], 3, axis=1)
    )
    assert shard.episodes.lengths.tolist() == [4, 3, 5]
    assert shard.episodes.source_id == ["episode/0", "episode/1", "episode/2"]
    assert shard.action is not None and shard.reward is not None
    np.testing.assert_array_equal(
        np.isnan(shard.action).all(axis=1).nonzero()[0], [*range(4, 9), 14]
    )
    np.testing.assert_array_equal(np.isnan(shard.reward).nonzero()[0], [4, 8, *range(9, 15)])
    np.testing.assert_array_equal(shard.truncated.nonzero()[0], [3, 7, 13])
    assert not shard.terminated.any()


def test_transition_mask_leaves_out_last_rows_and_other_episodes(shard_path: Path) -> None:
    episodes = read_shard(shard_path).episodes
    mask = episodes.transition_mask(episodes.has_action)
    np.testing.assert_array_equal(mask.nonzero()[0], [0, 1, 2, 3, 9, 10, 11, 12, 13])


def test_the_header_agrees_with_the_whole(shard_path: Path) -> None:
    meta, episodes = read_shard_header(shard_path)
    shard = read_shard(shard_path)
    assert meta.checksum == shard.meta.checksum
    assert episodes.source_id == shard.episodes.source_id


def test_the_header_does_not_need_the_arrays(shard_path: Path) -> None:
    with h5py.File(shard_path, "r+") as file:
        file["obs/state"][0] = np.nan
    read_shard_header(shard_path)


def test_the_checksum_follows_the_data(tmp_path: Path) -> None:
    first, again, other = (
        read_shard_header(
            write_shard(tmp_path / f"{name}.h5", lengths=[4], counter=False, seed=seed)
        )
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first[0].checksum == again[0].checksum != other[0].checksum


def test_verify_finds_changed_numbers(shard_path: Path) -> None:
    with h5py.File(shard_path, "r+") as file:
        file["obs/state"][3, 1] += 1.0
    read_shard(shard_path)
    with pytest.raises(LawmError, match=r"`/obs/state` of .* is damaged: its SHA-256 is"):
        read_shard(shard_path, verify=True)


def test_a_damaged_compressed_chunk(shard_path: Path) -> None:
    with h5py.File(shard_path) as file:
        chunk = file["terminated"].id.get_chunk_info(0)
    content = bytearray(shard_path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    shard_path.write_bytes(content)
    with pytest.raises(LawmError, match=r"`/terminated` of .* is unreadable"):
        read_shard(shard_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match=r"There is no shard .*gone\.h5"):
        read_shard(tmp_path / "gone.h5")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match="is a folder"):
        read_shard(tmp_path)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_truncated_file(shard_path: Path, share: float) -> None:
    content = shard_path.read_bytes()
    size = int(share * len(content))
    shard_path.write_bytes(content[:size])
    with pytest.raises(LawmError, match=f"is truncated: it ends after {size} bytes"):
        read_shard(shard_path)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all"])
def test_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.h5"
    path.write_bytes(content)
    with pytest.raises(LawmError, match=re.escape(f"{path} is not an HDF5 file")):
        read_shard(path)


def test_a_file_whose_writer_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    code = (
        "import h5py, os, sys; file = h5py.File(sys.argv[1], 'w', libver='latest'); "
        "file['x'] = 1; file.flush(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    with pytest.raises(LawmError, match="is being written by another program, or its writer was"):
        read_shard(path)


def test_a_file_that_may_not_be_read(shard_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(LawmError, match="may not be read: permission denied"):
        read_shard(shard_path)


def test_reading_needs_no_torch() -> None:
    code = "import lawm.data_modules.shard_reader, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
