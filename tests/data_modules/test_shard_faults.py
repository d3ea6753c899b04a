"""Each way in which a shard can be wrong is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lawm.data_modules.shard_format import fixed_text
from lawm.data_modules.shard_reader import read_shard
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
