"""Read a trajectory shard strictly: what is wrong with it is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.shard_checks import check_arrays, check_episodes
from lawm.data_modules.shard_file import REMAKE, ShardFile
from lawm.data_modules.shard_format import EpisodeIndex, Shard, ShardMeta, combined_checksum
from lawm.errors import LawmError


def read_shard(path: Path | str, *, verify: bool = False) -> Shard:
    """Read a whole shard into memory.

    Args:
        path: The HDF5 file.
        verify: Also compare every dataset with its SHA-256 (about 1 s per GB).

    Raises:
        LawmError: The file is missing, is not a complete shard of this version, or its content
            contradicts the format; the message names the file and the key.
    """
    path = Path(path)
    with ShardFile(path, verify=verify) as file:
        meta, episodes = _read_meta(file), _read_episodes(file)
        rows = episodes.num_rows
        shard = Shard(
            path=path,
            meta=meta,
            obs={key: file.observation(key, rows) for key in file.observation_keys()},
            action=file.optional("action", np.float32, (rows, meta.action_dim)),
            reward=file.optional("reward", np.float32, (rows,)),
            terminated=file.array("terminated", np.bool_, (rows,)),
            truncated=file.array("truncated", np.bool_, (rows,)),
            episodes=episodes,
            physics=file.optional("physics", np.float64, (rows, ...)),
        )
    check_arrays(shard)
    return shard


def read_shard_header(path: Path | str) -> tuple[ShardMeta, EpisodeIndex]:
    """Read what a shard says of itself and of its episodes, without the arrays along time.

    Raises:
        LawmError: As :func:`read_shard`, for the part that is read.
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
    )


def _read_provenance(file: ShardFile) -> dict[str, Any]:
    text = file.attribute("provenance")
    try:
        provenance = json.loads(str(text))
    except ValueError:
        provenance = None
    if not isinstance(provenance, dict):
        raise _bad_attribute(file, "provenance", text, "a JSON object")
    return provenance


def _read_episodes(file: ShardFile) -> EpisodeIndex:
    offset = file.array(fmt.OFFSET, np.int64, (...,))
    num = len(offset) - 1
    episodes = EpisodeIndex(
        offset=offset,
        has_action=file.array(fmt.HAS_ACTION, np.bool_, (num,)),
        has_reward=file.array(fmt.HAS_REWARD, np.bool_, (num,)),
        source_id=file.texts(fmt.SOURCE_ID, num),
        episode_return=file.array(fmt.RETURN, np.float64, (num,)),
    )
    check_episodes(file.path, episodes)
    return episodes


def _expect(file: ShardFile, name: str, expected: object, advice: str) -> None:
    found = file.attribute(name)
    if isinstance(found, np.ndarray) or found != expected:
        raise LawmError(f"{file.path} has {name} {found!r}, expected {expected!r}. {advice}")


def _bad_attribute(file: ShardFile, name: str, found: object, expected: str) -> LawmError:
    return LawmError(f"{file.path} has {name} {found!r}, expected {expected}. {REMAKE}")


__all__ = ["EpisodeIndex", "Shard", "ShardMeta", "read_shard", "read_shard_header"]
