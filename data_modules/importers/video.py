"""Video files: pictures without actions and without rewards.

A file, several of them, or folders with some right inside. Each picture becomes an observation
``pixels`` (H, W, 3) uint8. Files are decoded frame by frame; a trajectory ends where a file does,
where the scene is cut, where a frame cannot be decoded, and where it gets too long for memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.importers.importer import (
    Importer,
    ObservationField,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.data_modules.importers.video_cuts import SceneCuts
from lawm.data_modules.importers.video_files import KINDS, VideoFile, container_of, find_videos
from lawm.data_modules.importers.video_messages import Break, Ending, Picture
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.importers.video_process import decoded, need_extra, probe_videos
from lawm.errors import LawmError

KEY = "pixels"
MAX_TRAJECTORY_BYTES = 32 << 20  # of pictures; a longer one goes on in another
SAME_RATE = 1e-3  # share by which rates of one rate may differ: containers round times
MAX_NAMED = 5  # places that one note names


class Video(Importer):
    """See the module."""

    name = "video"
    summary = f"{KINDS} files, or folders of them; needs the extra lawm[video]"
    options = frozenset({"video", "more_sources", "max_episode_steps"})

    def recognises(self, source: Path) -> Recognition:
        """A file that begins as a video does, or a folder with one right inside."""
        try:
            if source.is_file():
                container = container_of(source)
                reason = f"begins as {container} files do" if container else "begins as no video"
                reason = reason if source.stat().st_size else "is empty"
                return Recognition(bool(container), reason)
            names = [f.name for f in sorted(source.iterdir()) if f.is_file() and container_of(f)]
        except (LawmError, OSError) as error:
            return Recognition(False, str(error))
        if not names:
            return Recognition(False, f"has no {KINDS} file right inside it")
        return Recognition(True, f"{names[0]} in it begins as a video does")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        need_extra()
        files, others = find_videos((source, *options.more_sources))
        video = options.video or VideoOptions()
        yield _Videos(source, files, others, video, options.max_episode_steps)


@dataclass
class _Tally:
    """What is told of all files together."""

    kinds: Counter[str] = field(default_factory=Counter)  # files, by their facts
    frames: int = 0
    used: int = 0
    steps: int = 0
    uneven: list[str] = field(default_factory=list)  # files of variable frame rate
    cuts: list[str] = field(default_factory=list)  # places
    pieces: int = 0  # trajectories that go on in another
    short: int = 0  # trajectories that are dropped
    longest_short: int = 0  # observations
    written: int = 0


class _Videos(Source):
    def __init__(
        self,
        source: Path,
        files: list[VideoFile],
        others: list[str],
        options: VideoOptions,
        max_steps: int,
    ) -> None:
        self._source, self._files, self._options = source, files, options
        self._probed = probe_videos(files)
        self._step = self._step_seconds()
        height, width = options.size
        fit_in_memory = max(2, MAX_TRAJECTORY_BYTES // (height * width * 3))
        self._most_rows = min(max_steps + 1 if max_steps else fit_in_memory, fit_in_memory)
        self.observations = {
            KEY: ObservationField((height, width, 3), np.dtype(np.uint8), KEY),
        }
        self.notes = []
        self.facts = SourceFacts(
            files=tuple(file.path for file in files),
            num_episodes=None,
            has_actions=False,
            action_repeat=options.action_repeat,
            control_timestep=self._step / options.action_repeat,
            left_out=dict.fromkeys(others, "no video"),
        )

    def episodes(self, keys: Sequence[str]) -> Iterator[RawEpisode]:
        """See :class:`Source`."""
        self.notes = []
        tally = _Tally()
        for file, facts in zip(self._files, self._probed, strict=True):
            tally.kinds[str(facts)] += 1
            yield from self._trajectories(file, tally)
        self._tell(tally)
        if not tally.written:
            raise LawmError(
                f"{self._source} holds no trajectory of {self._options.min_steps + 1} pictures or "
                f"more: the longest of {tally.short} has {tally.longest_short}. Import longer "
                "videos, more of their frames (--fps), or allow shorter trajectories (--min-steps)."
            )

    def _trajectories(self, file: VideoFile, tally: _Tally) -> Iterator[RawEpisode]:
        cuts = SceneCuts(self._options.cut_threshold)
        rows: list[NDArray[np.uint8]] = []
        number, start, last = 0, 0.0, 0.0
        for message in decoded(file, self._options, self._step):
            ends, picture = False, None
            if isinstance(message, Picture):
                picture = np.frombuffer(message.pixels, np.uint8)
                picture = picture.reshape(*self._options.size, 3)
                if cuts.is_cut(picture):
                    tally.cuts.append(f"{file.name} at {message.time:.2f} s")
                    ends = True
            elif isinstance(message, Break):
                self.notes.append(
                    f"{file.name} at {message.time:.3f} s: {message.reason}; the trajectory ends "
                    "there"
                )
                cuts.restart()
                ends = True
            elif isinstance(message, Ending):
                _count(tally, file, message)
                ends = True
            if ends and rows:
                yield from self._finished(file, number, start, rows, tally)
                rows, number = [], number + 1
            if picture is None or not isinstance(message, Picture):
                continue
            for _ in range(message.steps):
                if not rows:
                    start = message.time
                elif len(rows) == self._most_rows:
                    yield from self._finished(file, number, start, rows, tally)
                    rows, number, start = rows[-1:], number + 1, last
                    tally.pieces += 1
                rows.append(picture)
            last = message.time

    def _finished(
        self,
        file: VideoFile,
        number: int,
        start: float,
        rows: list[NDArray[np.uint8]],
        tally: _Tally,
    ) -> Iterator[RawEpisode]:
        if len(rows) <= self._options.min_steps:
            tally.short += 1
            tally.longest_short = max(tally.longest_short, len(rows))
            return
        tally.written += 1
        yield RawEpisode(
            num_rows=len(rows),
            obs={KEY: np.stack(rows)},
            action=None,
            reward=None,
            terminated=False,
            truncated=True,
            source_id=f"{file.name}/{number} at {start:.2f} s",
        )

    def _step_seconds(self) -> float:
        """As asked for, else that of the files; 0 where every n-th frame counts for unknown time.

        Raises:
            LawmError: The files do not say, or differ.
        """
        if self._options.step_seconds or self._options.every:
            return self._options.step_seconds
        rates = [facts.rate for facts in self._probed]
        for file, rate in zip(self._files, rates, strict=True):
            if not rate:
                raise LawmError(
                    f"{file.path} does not say how many frames a second it has. Choose with --fps, "
                    "or take frames by their number with --every 1."
                )
            if abs(rate - rates[0]) > SAME_RATE * rates[0]:
                raise LawmError(
                    f"{self._files[0].path} has {rates[0]:.4g} frames a second and {file.path} "
                    f"{rate:.4g}. Choose one rate for all with --fps, or with --env or "
                    "--control-timestep."
                )
        return 1.0 / rates[0]

    def _tell(self, tally: _Tally) -> None:
        kinds = "; ".join(f"{num} of {kind}" for kind, num in tally.kinds.most_common(MAX_NAMED))
        self.notes.append(f"{len(self._files)} files: {kinds}")
        if self._options.every:
            how = f"frames were taken by number, 1 of {self._options.every}, whatever their time"
        else:
            how = f"frames were taken by time, one each {self._step:.6g} s"
        repeated = tally.steps - tally.used
        self.notes.append(
            f"{how}: {tally.used:,} of {tally.frames:,}, one of "
            f"{tally.frames / max(1, tally.used):.2f}; {repeated:,} steps repeat the one before, "
            f"as no new frame had come"
        )
        if tally.uneven:
            self.notes.append(f"variable frame rate: {_some(tally.uneven)}")
        threshold = f"--cut-threshold {self._options.cut_threshold:g}"
        cuts = _some(tally.cuts) if tally.cuts else "none"
        self.notes.append(f"cuts between scenes, found with {threshold}: {cuts}")
        if tally.pieces:
            self.notes.append(
                f"{tally.pieces} trajectories reached {self._most_rows - 1} steps and go on in "
                "another one, which begins with the last picture"
            )
        if tally.short:
            self.notes.append(
                f"{tally.short} trajectories of fewer than --min-steps {self._options.min_steps} "
                "were dropped"
            )


def _count(tally: _Tally, file: VideoFile, ending: Ending) -> None:
    tally.frames += ending.decoded
    tally.used += ending.used
    tally.steps += ending.steps
    if ending.longest > 1.5 * ending.shortest:
        spread = f"{ending.shortest * 1e3:.3g} to {ending.longest * 1e3:.3g} ms a frame"
        tally.uneven.append(f"{file.name} ({spread})")


def _some(places: Sequence[str]) -> str:
    shown = ", ".join(places[:MAX_NAMED])
    more = len(places) - MAX_NAMED
    return f"{len(places)} ({shown}{f' and {more} more' if more > 0 else ''})"


IMPORTER = Video()

__all__ = ["IMPORTER", "Video"]
