"""Video files and folders of them, known by how they begin and not by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lawm.data_modules.safe_hdf5 import natural_order
from lawm.errors import LawmError

HEAD_BYTES = 16
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif")
KINDS = "mp4, mov, mkv, webm, avi or gif"


@dataclass(frozen=True)
class VideoFile:
    """A file that begins as a video does."""

    path: Path
    container: str  # FFmpeg's name of the format; naming it keeps playlists out
    name: str  # for the reader: its path within what was given


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that a file begins as; empty if of none.

    Raises:
        LawmError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise LawmError(f"{path} cannot be read: {error}.") from error
    if head[4:8] in MP4_BOXES:
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "gif" if head[:6] in (b"GIF87a", b"GIF89a") else ""


def find_videos(sources: Sequence[Path]) -> tuple[list[VideoFile], list[str]]:
    """The videos among files and right inside folders, in the order given and by name.

    Returns:
        The videos; and the names of the other files in the folders.

    Raises:
        LawmError: A source is missing, a file that was named or that is called like a video is
            none, a folder has none, or a file is given twice.
    """
    videos: list[VideoFile] = []
    others: list[str] = []
    for source in sources:
        if source.is_dir():
            found = _in_folder(source, others)
            if not found:
                raise LawmError(f"The folder {source} has no {KINDS} files right inside it.")
            videos += found
        elif not source.exists():
            raise LawmError(f"There is no file or folder {source}. Check the path of the source.")
        else:
            videos.append(_video(source, source.name))
    seen: set[Path] = set()
    for video in videos:
        real = video.path.resolve()
        if real in seen:
            raise LawmError(f"{video.path} is given twice. A video may stand once.")
        seen.add(real)
    return videos, others


def _in_folder(folder: Path, others: list[str]) -> list[VideoFile]:
    found: list[VideoFile] = []
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    for name in natural_order(list(files)):
        if files[name].suffix.lower() in SUFFIXES or container_of(files[name]):
            found.append(_video(files[name], f"{folder.name}/{name}"))
        else:
            others.append(name)
    return found


def _video(path: Path, name: str) -> VideoFile:
    container = container_of(path)
    if not container:
        size = path.stat().st_size
        what = "is empty" if size == 0 else f"has {size:,} bytes that begin like none of them"
        raise LawmError(
            f"{path} is no {KINDS} file: it {what}. Take it from its source again, or leave it out."
        )
    return VideoFile(path, container, name)


__all__ = ["KINDS", "SUFFIXES", "VideoFile", "container_of", "find_videos"]
