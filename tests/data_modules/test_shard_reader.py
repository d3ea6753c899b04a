from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from shard_factory import write_shard

from lawm.data_modules.shard_format import fixed_text
from lawm.data_modules.shard_reader import read_shard, read_shard_header
from lawm.errors import LawmError

Damage = Callable[[h5py.File], None]


def set_attribute(name: str, value: object) -> Damage:
    def damage(file: h5py.File) -> None:
        file.attrs[name] = fixed_text(value) if isinstance(value, str) else value

    return damage


def replace(name: str, make: Callable[[np.ndarray], object]) -> Damage:
    def damage(file: h5py.File) -> None:
        values = make(file[name][()])
        checksum = file[name].attrs["sha256"]
        del file[name]
        file[name] = values
        file[name].attrs["sha256"] = checksum

    return damage


def put(name: str, index: object, value: object) -> Damage:
    def damage(file: h5py.File) -> None:
        file[name][index] = value

    return damage


def delete(name: str) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[name]

    return damage


def empty_obs(file: h5py.File) -> None:
    del file["obs/state"]


def soft_link(file: h5py.File) -> None:
    file.move("reward", "elsewhere")
    file["reward"] = h5py.SoftLink("/elsewhere")


def external_link(file: h5py.File) -> None:
    del file["obs/state"]
    file["obs/state"] = h5py.ExternalLink("other.h5", "/obs/state")


def external_group(file: h5py.File) -> None:
    del file["obs"]
    file["obs"] = h5py.ExternalLink("other.h5", "/obs")


def virtual_dataset(file: h5py.File) -> None:
    shape = file["obs/state"].shape
    layout = h5py.VirtualLayout(shape=shape, dtype=np.float32)
    layout[:] = h5py.VirtualSource("missing.h5", "obs/state", shape=shape)
    del file["obs/state"]
    file.create_virtual_dataset("obs/state", layout)
    file["obs/state"].attrs["sha256"] = fixed_text("0" * 64)


def external_storage(file: h5py.File) -> None:
    rows = file["reward"].shape[0]
    del file["reward"]
    raw = Path(file.filename).with_suffix(".raw")
    raw.write_bytes(bytes(4 * rows))
    file.create_dataset("reward", (rows,), np.float32, external=[(str(raw), 0, 4 * rows)])
    file["reward"].attrs["sha256"] = fixed_text("0" * 64)


def objects(file: h5py.File) -> None:
    rows = file["obs/state"].shape[0]
    del file["obs/state"]
    cells = np.empty((rows, 3), object)
    for place in np.ndindex(cells.shape):
        cells[place] = np.zeros(2, np.float32)
    file.create_dataset("obs/state", data=cells, dtype=h5py.vlen_dtype(np.float32))
    file["obs/state"].attrs["sha256"] = fixed_text("0" * 64)


def never_written(file: h5py.File) -> None:
    shape = file["obs/state"].shape
    del file["obs/state"]
    file.create_dataset("obs/state", shape, np.float32, chunks=(2, 3))
    file["obs/state"].attrs["sha256"] = fixed_text("0" * 64)
    file["obs/state"][:2] = 0.0


def never_allocated(file: h5py.File) -> None:
    shape = file["obs/state"].shape
    del file["obs/state"]
    file.create_dataset("obs/state", shape, np.float32)
    file["obs/state"].attrs["sha256"] = fixed_text("0" * 64)


def obs_is_data(file: h5py.File) -> None:
    del file["obs"]
    file["obs"] = 0.0


def no_attribute(file: h5py.File) -> None:
    del file.attrs["control_timestep"]


def no_checksum(file: h5py.File) -> None:
    del file["reward"].attrs["sha256"]


def no_episodes(file: h5py.File) -> None:
    replace("episode/offset", lambda _: np.zeros(1, np.int64))(file)
    for name in ("has_action", "has_reward", "source_id", "return"):
        replace(f"episode/{name}", lambda values: values[:0])(file)


FAULTS: dict[str, tuple[Damage, str]] = {
    "format": (set_attribute("format", "robomimic"), "has format 'robomimic', expected 'lawm-traj"),
    "version": (set_attribute("version", 2), "has version .*2.*, expected 1. Use the lawm that"),
    "incomplete": (set_attribute("complete", False), "has complete .*False.* did not finish"),
    "convention": (
        set_attribute("action_convention", "led_into"),
        "has action_convention 'led_into', expected 'taken_at'",
    ),
    "array attribute": (set_attribute("version", [1, 1]), "has version .*expected 1"),
    "no attribute": (no_attribute, "has no attribute `control_timestep`"),
    "env_id": (set_attribute("env_id", 3), "has env_id .*3.*, expected text"),
    "action_repeat": (set_attribute("action_repeat", 0), "action_repeat .*0.*, expected a whole"),
    "timestep": (
        set_attribute("control_timestep", -0.1),
        "control_timestep .*-0.1.*, expected sec",
    ),
    "bound": (set_attribute("action_low", [np.nan, 0.0]), "has action_low .*expected finite"),
    "bounds": (set_attribute("action_low", [2.0, 2.0]), "has action_low .*below action_high"),
    "provenance": (set_attribute("provenance", "{"), "has provenance '{', expected a JSON object"),
    "no dataset": (delete("terminated"), "has no `/terminated`"),
    "no offset": (delete("episode"), "has no `/episode/offset`"),
    "no observations": (empty_obs, "holds no observations: `/obs` is empty"),
    "obs is no group": (obs_is_data, "`/obs` of .* is a Dataset, expected a Group"),
    "soft link": (soft_link, "`/reward` of .* is reached by a link .SoftLink."),
    "external link": (external_link, "`/obs/state` of .* is reached by a link .ExternalLink."),
    "external group": (external_group, "`/obs` of .* is reached by a link .ExternalLink."),
    "virtual dataset": (virtual_dataset, "`/obs/state` of .* keeps its data in other files"),
    "external storage": (external_storage, "`/reward` of .* keeps its data in other files"),
    "objects": (objects, "`/obs/state` of .* has type object, expected float32"),
    "double states": (
        replace("obs/state", lambda values: values.astype(np.float64)),
        "`/obs/state` of .* has type float64, expected float32",
    ),
    "flat states": (
        replace("obs/state", lambda values: values[:, 0]),
        r"`/obs/state` of .* has shape \(15,\), expected \(15, any\)",
    ),
    "short states": (
        replace("obs/state", lambda values: values[:-1]),
        r"`/obs/state` of .* has shape \(14, 3\), expected \(15, any\)",
    ),
    "action width": (
        replace("action", lambda values: values[:, :1]),
        r"`/action` of .* has shape \(15, 1\), expected \(15, 2\)",
    ),
    "action type": (
        replace("action", lambda values: values.astype(np.float64)),
        "`/action` of .* has type float64, expected float32",
    ),
    "index length": (
        replace("episode/has_action", lambda values: values[:-1]),
        r"`/episode/has_action` of .* has shape \(2,\), expected \(3\)",
    ),
    "never written": (
        never_written,
        "`/obs/state` of .* was declared with shape .* and never fully written",
    ),
    "never allocated": (
        never_allocated,
        "`/obs/state` of .* was declared with shape .* and never fully written",
    ),
    "no checksum": (no_checksum, "`/reward` of .* has no attribute `sha256`"),
    "no episodes": (no_episodes, "holds no episodes"),
    "offset start": (put("episode/offset", 0, 1), "`/episode/offset` of .* must start at 0"),
    "empty episode": (
        put("episode/offset", 1, 8),
        "`/episode/offset` of .* one transition or more",
    ),
    "return": (put("episode/return", 2, 7.0), "`/episode/return` of .* is 7.0 for episode 2"),
    "source id type": (
        replace("episode/source_id", lambda values: np.arange(3)),
        "`/episode/source_id` of .* has type int64, expected fixed-length text",
    ),
    "source id text": (
        replace("episode/source_id", lambda values: np.array([b"\xff"] * 3)),
        "`/episode/source_id` of .* is not UTF-8",
    ),
    "NaN observation": (
        put("obs/state", (6, 1), np.nan),
        "`/obs/state` of .* is NaN or infinite, in 1 rows, the first of them step 1 of episode 1",
    ),
    "NaN action": (
        put("action", (2, 0), np.nan),
        "`/action` of .* is NaN or infinite where known, .* step 2 of episode 0",
    ),
    "hidden action": (
        put("action", 5, 0.0),
        "`/action` of .* is a number where it must be NaN, .* step 0 of episode 1",
    ),
    "last action": (put("action", 4, 0.0), "`/action` of .* step 4 of episode 0"),
    "hidden reward": (put("reward", 10, 0.0), "`/reward` of .* is a number where it must be NaN"),
    "no action": (delete("action"), "has no `/action`, but .* says that 2 of 3 episodes have it"),
    "early end": (put("truncated", 0, True), "`/truncated` of .* is true before the episode's end"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_names_file_and_key(shard_path: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    with h5py.File(shard_path, "r+") as file:
        damage(file)
    with pytest.raises(LawmError, match=message) as raised:
        read_shard(shard_path)
    assert str(shard_path) in str(raised.value)


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
        put("obs/state", 0, np.nan)(file)
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
