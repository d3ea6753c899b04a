"""Write a trajectory shard so that it is there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.episode import Episode, check_same_layout, checked_episode
from lawm.data_modules.shard_file import checksum
from lawm.errors import LawmError

IMAGE_CHUNK = 10  # frames: a window of 32 touches four or five chunks
FLAG_CHUNK = 65_536  # rows of flags, which gzip shrinks to almost nothing


class ShardWriter:
    """Gathers episodes in memory and writes them as one file on leaving the context.

    The file is written under a temporary name in the same folder, flushed to the disk and then
    renamed, so that a killed write leaves no half shard. Leaving the context by an exception
    writes nothing. Contiguous arrays must know their length first, hence the gathering.

    Args:
        path: The file to write; its folder is made where missing.
        action_low: (A,) bounds in the environment's units; empty where no episode has actions.
        action_high: (A,).
        env_id: Such as ``dm_control/cheetah-run``; empty where unknown.
        action_repeat: Control steps that one action is held for.
        control_timestep: Seconds of one control step before action repeat; 0 where unknown.
        provenance: How the data came to be, anything that JSON can hold. The attribute of the same
            name may be changed until the context is left.
        overwrite: Replace an existing file.

    Raises:
        LawmError: The target exists or may not be written, an episode contradicts the format, or
            there is no episode at the end.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        action_low: ArrayLike,
        action_high: ArrayLike,
        env_id: str = "",
        action_repeat: int = 1,
        control_timestep: float = 0.0,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.provenance: dict[str, Any] = dict(provenance or {})
        self._overwrite = overwrite
        self._episodes: list[Episode] = []
        low, high = np.asarray(action_low, np.float64), np.asarray(action_high, np.float64)
        if low.ndim != 1 or low.shape != high.shape or not _are_bounds(low, high):
            raise LawmError(
                f"The action bounds for {self.path} are {low.tolist()} and {high.tolist()}; "
                "expected two lists of finite numbers, one per dimension, each low below its high."
            )
        self._action_dim = len(low)
        self._attributes: dict[str, Any] = {
            "format": fmt.FORMAT,
            "version": fmt.VERSION,
            "env_id": env_id,
            "action_repeat": int(action_repeat),
            "control_timestep": float(control_timestep),
            "action_low": low,
            "action_high": high,
            "action_convention": fmt.ACTION_CONVENTION,
        }

    @property
    def num_episodes(self) -> int:
        """Episodes added so far."""
        return len(self._episodes)

    def __enter__(self) -> ShardWriter:
        """Find out now, before an hour of collecting, that the target cannot be written."""
        self._refuse_existing()
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LawmError(f"The folder {folder} cannot be made: {error}.") from error
        if not os.access(folder, os.W_OK):
            raise LawmError(f"{self.path} cannot be written: no permission in the folder {folder}.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._commit()

    def add_episode(
        self,
        obs: Mapping[str, ArrayLike],
        action: ArrayLike | None,
        reward: ArrayLike | None,
        *,
        terminated: bool,
        truncated: bool,
        source_id: str,
        physics: ArrayLike | None = None,
    ) -> None:
        """Add an episode of T transitions; the arrays are copied.

        Args:
            obs: By key, (T + 1, D) floats or (T + 1, H, W, C) uint8; the same keys every time.
            action: (T, A) in the environment's units, the one taken AT each observation but the
                last; None where unknown.
            reward: (T,) summed over the action repeat; None where unknown.
            terminated: The last transition ended the task.
            truncated: The last transition met a time limit.
            source_id: Where the episode comes from.
            physics: (T + 1, P) simulator states; all episodes have them or none.

        Raises:
            LawmError: Shapes that do not fit, or numbers that are not finite.
        """
        where = f"Episode {self.num_episodes} ({source_id}) for {self.path}"
        episode = checked_episode(
            where,
            self._action_dim,
            obs=obs,
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            source_id=source_id,
            physics=physics,
        )
        if self._episodes:
            check_same_layout(where, self._episodes[0], episode)
        self._episodes.append(episode)

    def _refuse_existing(self) -> None:
        if self.path.exists() and not self._overwrite:
            raise LawmError(
                f"{self.path} exists already and is left as it is. Choose another name, or allow "
                "it with --overwrite."
            )

    def _commit(self) -> None:
        if not self._episodes:
            raise LawmError(f"{self.path} was not written: there is no whole episode to write.")
        temporary = self.path.with_name(f"{self.path.name}.tmp-{os.getpid()}")
        try:
            with h5py.File(temporary, "w") as file:
                _write_time_arrays(file, self._episodes, self._action_dim)
                _write_index(file, self._episodes)
                file.attrs.update(self._attributes)
                file.attrs["provenance"] = json.dumps(self.provenance)
                file.attrs["complete"] = True
            _flush_to_disk(temporary)
            self._refuse_existing()
            temporary.replace(self.path)
            _flush_to_disk(self.path.parent)
        except OSError as error:
            raise LawmError(f"{self.path} could not be written: {error}.") from error
        finally:
            temporary.unlink(missing_ok=True)


def _write_time_arrays(file: h5py.File, episodes: list[Episode], action_dim: int) -> None:
    """The arrays of N rows; those that no episode has are left out."""
    for key in episodes[0].obs:
        rows = np.concatenate([episode.obs[key] for episode in episodes])
        _write(file, f"{fmt.OBS_GROUP}/{key}", rows)
    if any(episode.action is not None for episode in episodes):
        parts = (episode.action for episode in episodes)
        _write(file, "action", _with_nan(parts, episodes, (action_dim,)))
    if any(episode.reward is not None for episode in episodes):
        parts = (episode.reward for episode in episodes)
        _write(file, "reward", _with_nan(parts, episodes, ()))
    physics = [episode.physics for episode in episodes if episode.physics is not None]
    if physics:
        _write(file, "physics", np.concatenate(physics))
    ends = np.cumsum([episode.num_rows for episode in episodes])
    for name in ("terminated", "truncated"):
        flags = np.zeros(ends[-1], np.bool_)
        flags[ends - 2] = [getattr(episode, name) for episode in episodes]
        _write(file, name, flags)


def _write_index(file: h5py.File, episodes: list[Episode]) -> None:
    """The arrays of E rows."""
    num_rows = [episode.num_rows for episode in episodes]
    _write(file, fmt.OFFSET, np.cumsum([0, *num_rows], dtype=np.int64))
    _write(file, fmt.HAS_ACTION, np.array([e.action is not None for e in episodes]))
    _write(file, fmt.HAS_REWARD, np.array([e.reward is not None for e in episodes]))
    _write(file, fmt.RETURN, np.array([e.episode_return for e in episodes]))
    texts = [episode.source_id.encode() for episode in episodes]
    kind = h5py.string_dtype("utf-8", length=max(1, *map(len, texts)))
    _write(file, fmt.SOURCE_ID, np.array(texts, dtype=kind))


def _with_nan(
    parts: Iterable[NDArray[np.float32] | None], episodes: list[Episode], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """(N, *shape) with NaN in the last row of every episode and where an episode has none."""
    rows = np.full((sum(e.num_rows for e in episodes), *shape), np.nan, np.float32)
    start = 0
    for part, episode in zip(parts, episodes, strict=True):
        if part is not None:
            rows[start : start + len(part)] = part
        start += episode.num_rows
    return rows


def _write(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """A dataset with its checksum: images and flags in compressed chunks, the rest contiguous."""
    options: dict[str, Any] = {}
    if values.dtype == np.uint8:
        chunks = (min(len(values), IMAGE_CHUNK), *values.shape[1:])
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1}
    elif values.dtype == np.bool_:
        options = {"chunks": (min(len(values), FLAG_CHUNK),), "compression": "gzip"}
    dataset = file.create_dataset(name, data=values, **options)
    dataset.attrs["sha256"] = checksum(values)


def _are_bounds(low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all())


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["ShardWriter"]
