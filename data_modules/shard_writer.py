"""Write a trajectory shard so that it is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike

from lawm.data_modules import shard_format as fmt
from lawm.data_modules.episode import (
    Episode,
    check_same_layout,
    checked_episode,
    refuse_beyond_bounds,
)
from lawm.data_modules.full_disk import HDF5_ERRORS, abandon, require_space
from lawm.data_modules.index_writer import IndexWriter
from lawm.data_modules.shard_attributes import checked_bounds, write_attributes
from lawm.data_modules.streamed_arrays import ChunkedImages, SpooledArray
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec


class ShardWriter:
    """Takes episode after episode and is one file on leaving the context.

    The file is written under a temporary name in the same folder, flushed to the disk and then
    renamed, so that a killed write leaves no half shard. Leaving the context by an exception
    writes nothing. Memory does not grow with the data; while it is written, a shard takes up to
    twice its space on the disk.

    Args:
        path: The file to write; its folder is made where missing.
        action_low: (A,) bounds in the environment's units; empty where no episode has actions.
        action_high: (A,).
        env_id: Such as ``dm_control/cheetah-run``; empty where unknown.
        action_repeat: Control steps that one action is held for.
        control_timestep: Seconds of one control step before action repeat; 0 where unknown.
        provenance: How the data came to be, anything that JSON can hold. The attribute of the same
            name may be changed until the context is left.
        renderer: What took the pictures; None without, and where it is unknown.
        overwrite: Replace an existing file.
        is_copy: Take actions beyond the bounds as well, as the shard that is copied has them.

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
        renderer: RendererSpec | None = None,
        overwrite: bool = False,
        is_copy: bool = False,
    ) -> None:
        self.path = Path(path)
        self.provenance: dict[str, Any] = dict(provenance or {})
        self._overwrite, self._is_copy, self._is_entered = overwrite, is_copy, False
        self._temporary = self.path.with_name(f"{self.path.name}.tmp-{os.getpid()}")
        self._file: h5py.File | None = None
        self._arrays: dict[str, SpooledArray] = {}
        self._images: dict[str, ChunkedImages] = {}
        self._first: Episode | None = None
        self._index = IndexWriter()
        self._is_torn = False  # some arrays have an episode that others lack
        low, high = checked_bounds(self.path, action_low, action_high)
        self._low, self._high, self._action_dim = low, high, len(low)
        self._renderer = renderer
        self._settings: dict[str, Any] = {
            "env_id": env_id,
            "action_repeat": int(action_repeat),
            "control_timestep": float(control_timestep),
            "action_low": low,
            "action_high": high,
        }

    @property
    def num_episodes(self) -> int:
        """Episodes added so far."""
        return len(self._index.num_rows)

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
        self._is_entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_entered = False
        try:
            if kind is None:
                self._commit()
        finally:
            self._clear()

    def add(self, episode: Episode) -> None:
        """Add an episode that is there already; see :meth:`add_episode`."""
        self.add_episode(**vars(episode))

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
        """Add an episode of T transitions; the arrays are not needed afterwards.

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
            LawmError: Shapes that do not fit, numbers that are not finite, actions beyond the
                bounds, or the context of the writer was not entered or is left.
        """
        if not self._is_entered:
            raise LawmError(
                f"An episode ({source_id}) was added to the writer of {self.path} outside of its "
                "context, so it would never be written; expected `with ShardWriter(...) as "
                "writer:` around it."
            )
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
        if episode.action is not None and not self._is_copy:
            refuse_beyond_bounds(where, episode.action, self._low, self._high)
        if self._first is None:
            self._first = _without_rows(episode)
        check_same_layout(where, self._first, episode)
        self._is_torn = True
        try:
            self._append(episode)
        except HDF5_ERRORS as error:
            raise LawmError(f"{self.path} could not be written: {error}.") from error
        self._is_torn = False

    def _append(self, episode: Episode) -> None:
        for key, rows in episode.obs.items():
            name = f"{fmt.OBS_GROUP}/{key}"
            if rows.dtype != np.uint8:
                self._spool(name, rows.dtype, rows.shape[1:]).append(rows)
                continue
            if name not in self._images:
                self._images[name] = ChunkedImages(self._open(), name, rows.shape[1:])
            require_space(self.path, rows.nbytes)
            self._images[name].append(rows)
        steps = {
            "action": (episode.action, (self._action_dim,)),
            "reward": (episode.reward, ()),
        }
        for name, (values, shape) in steps.items():
            spool = self._spool(name, np.dtype(np.float32), shape)
            if values is not None:
                spool.append(values)
            spool.append_nan(1 if values is not None else episode.num_rows)
        if episode.physics is not None:
            spool = self._spool("physics", episode.physics.dtype, episode.physics.shape[1:])
            spool.append(episode.physics)
        self._index.add(episode)

    def _spool(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> SpooledArray:
        if name not in self._arrays:
            self._arrays[name] = SpooledArray(self.path.parent, dtype, shape)
        return self._arrays[name]

    def _open(self) -> h5py.File:
        """The file under its temporary name."""
        if self._file is None:
            self._file = h5py.File(self._temporary, "w")
        return self._file

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise LawmError(f"{self.path} is a folder; expected the name of a file to write.")
        if self.path.exists() and not self._overwrite:
            raise LawmError(
                f"{self.path} exists already and is left as it is. Choose another name, or allow "
                "it with --overwrite."
            )

    def _commit(self) -> None:
        if self._is_torn:
            raise LawmError(
                f"{self.path} was not written: adding its episode {self.num_episodes} was broken "
                "off, so that its arrays do not fit together. Write it anew."
            )
        if not self.num_episodes:
            raise LawmError(f"{self.path} was not written: there is no whole episode to write.")
        waiting = sum(array.num_bytes for array in self._arrays.values())
        require_space(self.path, waiting + self._index.num_bytes)
        try:
            file = self._open()
            self._write_time_arrays(file)
            self._index.write(file)
            write_attributes(
                file,
                settings=self._settings,
                renderer=self._renderer,
                provenance=self.provenance,
            )
            file.close()
            _flush_to_disk(self._temporary)
            self._refuse_existing()
            self._temporary.replace(self.path)
            _flush_to_disk(self.path.parent)
        except HDF5_ERRORS as error:
            raise LawmError(f"{self.path} could not be written: {error}.") from error

    def _clear(self) -> None:
        """Leave nothing behind but the shard."""
        for array in self._arrays.values():
            with suppress(OSError):
                array.close()
        if self._file is not None:
            abandon(self._file)
            self._temporary.unlink(missing_ok=True)

    def _write_time_arrays(self, file: h5py.File) -> None:
        """The arrays of N rows; those that no episode has are left out."""
        for images in self._images.values():
            images.finish()
        absent = {
            "action": not any(self._index.has_action),
            "reward": not any(self._index.has_reward),
        }
        for name, array in self._arrays.items():
            if not absent.get(name, False):
                array.write(file, name)


def _without_rows(episode: Episode) -> Episode:
    """What later episodes are compared with, without the memory of the first."""
    physics = None if episode.physics is None else episode.physics[:0].copy()
    return replace(
        episode,
        obs={key: rows[:0].copy() for key, rows in episode.obs.items()},
        action=None,
        reward=None,
        physics=physics,
    )


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["ShardWriter"]
