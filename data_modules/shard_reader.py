"""Read a trajectory shard strictly: what is wrong with it is said in one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.closing import Closing
from lawm.data_modules.shard_checks import check_content, check_episodes, refuse_damage
from lawm.data_modules.shard_file import REMAKE, ShardArray, ShardFile
from lawm.data_modules.shard_format import EpisodeIndex, Shard, ShardMeta, combined_checksum
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec


@dataclass(frozen=True, eq=False)
class OpenShard(Closing):
    """A shard whose arrays along time stay in the file; a context manager that closes it."""

    path: Path
    meta: ShardMeta
    episodes: EpisodeIndex
    arrays: dict[str, ShardArray]  # "obs/<key>", "action", "reward", ...: those of N rows
    file: ShardFile

    @property
    def obs(self) -> dict[str, ShardArray]:
        """The observations, sorted by key."""
        start = f"{fmt.OBS_GROUP}/"
        return {
            name.removeprefix(start): array
            for name, array in self.arrays.items()
            if name.startswith(start)
        }

    def close(self) -> None:
        """See :class:`Closing`."""
        self.file.close()

    def check(self, *, hashes: bool) -> None:
        """Go through all arrays, some megabytes at a time.

        Args:
            hashes: Also compare every dataset with its SHA-256 (about 1 s per GB).

        Raises:
            LawmError: The content contradicts the format, or is damaged.
        """
        check_content(self.path, self.episodes, self.arrays, hashes=hashes)
        if hashes:
            for name in (fmt.OFFSET, fmt.HAS_ACTION, fmt.HAS_REWARD, fmt.SOURCE_ID, fmt.RETURN):
                refuse_damage(self.path, name, *self.file.hashes(name))


def open_shard(path: Path | str) -> OpenShard:
    """Open a shard, and read what it says of itself and of its episodes.

    Raises:
        LawmError: The file is missing, is not a complete shard of this version, or its parts do not
            fit together; the message names the file and the key.
    """
    file = ShardFile(Path(path))
    try:
        meta, episodes = _read_meta(file), _read_episodes(file)
        rows = episodes.num_rows
        arrays: dict[str, ShardArray | None] = {
            f"{fmt.OBS_GROUP}/{key}": file.observation(key, rows) for key in file.observation_keys()
        }
        arrays["action"] = file.optional("action", np.float32, (rows, meta.action_dim))
        arrays["reward"] = file.optional("reward", np.float32, (rows,))
        arrays["terminated"] = file.array("terminated", np.bool_, (rows,))
        arrays["truncated"] = file.array("truncated", np.bool_, (rows,))
        arrays["physics"] = file.optional("physics", np.float64, (rows, ...))
        present = {name: array for name, array in arrays.items() if array is not None}
        _check_renderer(file, meta, present)
    except BaseException:
        file.close()
        raise
    return OpenShard(Path(path), meta, episodes, present, file)


def read_shard(path: Path | str, *, verify: bool = False) -> Shard:
    """Read a whole shard into memory.

    Args:
        path: The HDF5 file.
        verify: Also compare every dataset with its SHA-256 (about 1 s per GB).

    Raises:
        LawmError: As :func:`open_shard`, or its content contradicts the format.
    """
    with open_shard(path) as shard:
        shard.check(hashes=verify)
        arrays = {name: array.read() for name, array in shard.arrays.items()}
        return Shard(
            path=shard.path,
            meta=shard.meta,
            obs={key: arrays[f"{fmt.OBS_GROUP}/{key}"] for key in shard.obs},
            action=arrays.get("action"),
            reward=arrays.get("reward"),
            terminated=arrays["terminated"],
            truncated=arrays["truncated"],
            episodes=shard.episodes,
            physics=arrays.get("physics"),
        )


def read_shard_header(path: Path | str) -> tuple[ShardMeta, EpisodeIndex]:
    """Read what a shard says of itself and of its episodes, without the arrays along time.

    Raises:
        LawmError: As :func:`open_shard`, for the part that is read.
    """
    with ShardFile(Path(path)) as file:
        return _read_meta(file), _read_episodes(file)


def _read_meta(file: ShardFile) -> ShardMeta:
    _expect(file, "format", fmt.FORMAT, "It is no lawm shard; import it with `lawm data import`.")
    _expect(file, "version", fmt.VERSION, f"Use the lawm that wrote it. {REMAKE}")
    _expect(file, "complete", True, f"Its writer did not finish. {REMAKE}")
    _expect(file, "action_convention", fmt.ACTION_CONVENTION, REMAKE)

    env_id = file.attribute("env_id")
    if not isinstance(env_id, str):
        raise _bad_attribute(file, "env_id", env_id, "text, empty where unknown")
    action_repeat = file.attribute("action_repeat")
    if not isinstance(action_repeat, int | np.integer) or action_repeat < 1:
        raise _bad_attribute(file, "action_repeat", action_repeat, "a whole number from 1 on")
    timestep = file.attribute("control_timestep")
    if not isinstance(timestep, float | np.floating) or not 0.0 <= timestep < np.inf:
        raise _bad_attribute(file, "control_timestep", timestep, "seconds, 0 where unknown")
    low, high = np.asarray(file.attribute("action_low")), np.asarray(file.attribute("action_high"))
    for name, bound in (("action_low", low), ("action_high", high)):
        if bound.ndim != 1 or bound.dtype != np.float64 or not np.isfinite(bound).all():
            raise _bad_attribute(file, name, bound, "finite float64 numbers, one per dimension")
    if low.shape != high.shape or not (low < high).all():
        raise _bad_attribute(file, "action_low", low, f"numbers below action_high = {high}")
    return ShardMeta(
        version=fmt.VERSION,
        env_id=env_id,
        action_repeat=int(action_repeat),
        control_timestep=float(timestep),
        action_low=low,
        action_high=high,
        provenance=_read_provenance(file),
        checksum=combined_checksum(file.checksums()),
        renderer=_read_renderer(file),
    )


def _read_provenance(file: ShardFile) -> dict[str, Any]:
    data = file.optional(fmt.PROVENANCE, np.uint8, (...,))
    if data is None:
        text = file.attribute(fmt.PROVENANCE)
    else:
        refuse_damage(file.path, fmt.PROVENANCE, *file.hashes(fmt.PROVENANCE))
        text = data.read().tobytes().decode(errors="replace")
    try:
        provenance = json.loads(str(text))
    except ValueError:
        provenance = None
    if not isinstance(provenance, dict):
        raise _bad_attribute(file, fmt.PROVENANCE, text, "a JSON object")
    return provenance


def _read_renderer(file: ShardFile) -> RendererSpec | None:
    text = file.optional_attribute("renderer")
    if text is None:
        return None
    try:
        values = json.loads(str(text))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _bad_attribute(file, "renderer", text, "a JSON object")
    try:
        return RendererSpec.from_dict(values)
    except LawmError as error:
        raise LawmError(f"{file.path}: {error} {REMAKE}") from error


def _check_renderer(file: ShardFile, meta: ShardMeta, arrays: dict[str, ShardArray]) -> None:
    """Refuse a renderer of pictures that are not there, or of another size."""
    for key in meta.renderer.cameras if meta.renderer else ():
        array = arrays.get(f"{fmt.OBS_GROUP}/{key}")
        found = None if array is None else array.step_shape
        if meta.renderer is not None and found != meta.renderer.shape:
            raise LawmError(
                f"{file.path} says that it has pictures `{key}` of shape {meta.renderer.shape}, "
                f"but `/{fmt.OBS_GROUP}/{key}` {'has ' + str(found) if found else 'is missing'}. "
                f"{REMAKE}"
            )


def _read_episodes(file: ShardFile) -> EpisodeIndex:
    offset = file.array(fmt.OFFSET, np.int64, (...,)).read()
    num = len(offset) - 1
    episodes = EpisodeIndex(
        offset=offset,
        has_action=file.array(fmt.HAS_ACTION, np.bool_, (num,)).read(),
        has_reward=file.array(fmt.HAS_REWARD, np.bool_, (num,)).read(),
        source_id=file.texts(fmt.SOURCE_ID, num),
        episode_return=file.array(fmt.RETURN, np.float64, (num,)).read(),
    )
    check_episodes(file.path, episodes)
    return episodes


def _expect(file: ShardFile, name: str, expected: object, advice: str) -> None:
    found = file.attribute(name)
    if isinstance(found, np.ndarray) or found != expected:
        raise LawmError(f"{file.path} has {name} {found!r}, expected {expected!r}. {advice}")


def _bad_attribute(file: ShardFile, name: str, found: object, expected: str) -> LawmError:
    return LawmError(f"{file.path} has {name} {found!r}, expected {expected}. {REMAKE}")


__all__ = [
    "EpisodeIndex",
    "OpenShard",
    "Shard",
    "ShardMeta",
    "open_shard",
    "read_shard",
    "read_shard_header",
]
