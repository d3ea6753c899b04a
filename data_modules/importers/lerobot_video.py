"""The videos of a LeRobot data set, decoded with PyAV one episode at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.closing import Closing
from lawm.data_modules.importers.lerobot_places import EpisodePlace
from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # of an episode's frames
TOLERANCE = 0.25  # of the time between two frames
ADVICE = "Download the data set again."


class Video(Closing):
    """The frames of one feature; a context manager that keeps one file open.

    Args:
        root: The folder of the data set.
        key: The feature.
    """

    def __init__(self, root: Path, key: str) -> None:
        self._folder, self._key = root / "videos" / key, key
        self._path = Path()
        self._container: Any = None  # PyAV's InputContainer
        if ".." in Path(key).parts or Path(key).is_absolute():
            raise LawmError(f"Feature `{key}` of {root} is called like another folder's path.")

    def close(self) -> None:
        """See :class:`Closing`."""
        if self._container is not None:
            self._container.close()

    def frames(self, place: EpisodePlace, fps: float, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """(R, H, W, 3) of an episode: row t is the frame shown at its start + t / fps.

        Args:
            place: The episode.
            fps: Rows a second.
            shape: (H, W, 3).

        Raises:
            LawmError: The file is missing or damaged, or has no frame at one of these times.
        """
        import av

        at = place.videos[self._key]
        path = self._folder / f"chunk-{at.chunk:03d}/file-{at.file:03d}.mp4"
        where = f"episode {place.number} in {path}"
        if place.length * math.prod(shape) > MAX_READ_BYTES:
            raise LawmError(
                f"The frames of {where}, {place.length} of {shape}, take more than "
                f"{MAX_READ_BYTES >> 30} GiB. Record shorter episodes, or leave out `{self._key}`."
            )
        if not 0.0 <= at.start < 1e9:
            raise LawmError(f"The frames of {where} begin at {at.start} s. {ADVICE}")
        try:
            frames, found = self._decode(path, place.length, at.start, fps, shape)
        except LawmError:
            raise
        except (av.FFmpegError, OSError, ValueError, MemoryError, AttributeError) as error:
            # a stream of an unknown codec lacks the attributes of a video's
            raise LawmError(
                f"The frames of {where} cannot be decoded: {error}. {ADVICE}"
            ) from error
        if not found.all():
            row = int(found.argmin())
            raise LawmError(
                f"The video of {where} has no frame at {at.start + row / fps:.4f} s, which row "
                f"{row} of {place.length} shows. {ADVICE}"
            )
        return frames

    def _decode(
        self, path: Path, num: int, start: float, fps: float, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The frames, and which rows have one."""
        container = self._opened(path)
        if not container.streams.video:
            raise LawmError(f"{path} has no video in it. {ADVICE}")
        stream = container.streams.video[0]
        if (stream.height, stream.width) != shape[:2]:
            raise LawmError(
                f"{path} has frames of {stream.height} x {stream.width} pixels; expected "
                f"{shape[0]} x {shape[1]} as meta/info.json states. {ADVICE}"
            )
        found = np.zeros(num, np.bool_)
        frames = np.empty((num, *shape), np.uint8)
        # The seek lands on the key frame at or before the first frame that is wanted
        container.seek(max(0, int((start - TOLERANCE / fps) / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            position = (float(frame.pts * stream.time_base) - start) * fps
            row = round(position)
            if row >= num:
                break
            if row >= 0 and abs(position - row) <= TOLERANCE:
                picture = frame.to_ndarray(format="rgb24")
                if picture.shape != shape:
                    raise LawmError(f"{path} changes its frame size to {picture.shape}. {ADVICE}")
                frames[row], found[row] = picture, True
        return frames, found

    def _opened(self, path: Path) -> Any:  # noqa: ANN401
        """The file of an episode; most often it is open already."""
        import av

        if path != self._path or self._container is None:
            if self._container is not None:
                self._container.close()
                self._container = None
            if not path.is_file():
                raise LawmError(f"There is no file {path}. {ADVICE}")
            # The format is given: a file that is really a playlist could name other files
            self._container, self._path = av.open(str(path), format="mp4"), path
        return self._container


__all__ = ["Video"]
