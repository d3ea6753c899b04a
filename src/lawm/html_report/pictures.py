"""Pictures and texts that callbacks gave to TensorBoard, and videos beside a run, for the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from lawm.html_report.run_files import FileReader

VIDEO_BYTES = 6_000_000  # of one video; a third is added by the encoding
TOTAL_BYTES = 12_000_000  # of all that a page embeds: it stays below 20 MB
_EVENT_BYTES = 2_000_000_000  # of an event file that is still read
_NOT_SEARCHED = ("checkpoints", "faults", "tensorboard")


@dataclass(frozen=True)
class Picture:
    """The newest picture of a name."""

    tag: str
    step: int  # on the axis that both stages share
    content: bytes


@dataclass(frozen=True)
class Embedded:
    """What is shown of a file, or why it is not."""

    name: str
    kind: str  # "video" or "image"
    source: Markup | None  # a data URI; None if it was left out
    note: str  # where it is, how large, and why it was left out


@dataclass
class Budget:
    """How much the page may still embed."""

    left: int = TOTAL_BYTES
    left_out: list[str] = field(default_factory=list)

    def take(self, size: int, name: str) -> bool:
        """Whether so many bytes still fit; what does not is remembered."""
        if size > self.left:
            self.left_out.append(f"{name} ({megabytes(size)})")
            return False
        self.left -= size
        return True


def newest_pictures(files: FileReader, folder: Path) -> list[Picture]:
    """The last picture of each tag in TensorBoard's event files.

    They are read record by record, so that a file that was cut off gives what it has.

    Args:
        files: Told of what is damaged.
        folder: Of the event files.
    """
    found: dict[str, Picture] = {}
    for path in sorted(folder.glob("events.*")):
        if not path.is_file():
            continue
        try:
            for picture in _pictures_in(path):
                found[picture.tag] = picture
        except Exception as error:  # TensorBoard's reader raises what its parsers raise
            name = path.relative_to(files.root)
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            files.damaged.append(f"{name} is damaged: {text[:200]}. Pictures behind are left out.")
    return [found[tag] for tag in sorted(found)]


def _pictures_in(path: Path) -> Iterator[Picture]:
    # Takes two seconds to import. The other loader of the module turns pictures into tensors.
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    if path.stat().st_size > _EVENT_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes")
    for event in LegacyEventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.WhichOneof("value") == "image":
                yield Picture(value.tag, int(event.step), value.image.encoded_image_string)


def videos_in(run: Path, budget: Budget) -> list[Embedded]:
    """The .mp4, .webm and .gif files of a run folder, smallest first.

    Args:
        run: The folder; its links stay inside, see :func:`lawm.run_folder.open_run_folder`.
        budget: Of the page.
    """
    paths = [
        path
        for path in run.rglob("*")
        if path.suffix.lower() in (".mp4", ".webm", ".gif")
        and path.is_file()
        and not set(path.relative_to(run).parts[:-1]) & set(_NOT_SEARCHED)
    ]
    return [_video(path, run, budget) for path in sorted(paths, key=lambda p: p.stat().st_size)]


def _video(path: Path, run: Path, budget: Budget) -> Embedded:
    name, size = str(path.relative_to(run)), path.stat().st_size
    note = f"{path}, {megabytes(size)}"
    if size > VIDEO_BYTES:
        reason = f"left out, as it is larger than {megabytes(VIDEO_BYTES)}"
        return Embedded(name, "video", None, f"{note}: {reason}. Open it from there.")
    if not budget.take(size, name):
        return Embedded(name, "video", None, f"{note}: left out, as the page is full.")
    content = path.read_bytes()
    source = data_uri(content)
    if source is None:
        return Embedded(name, "video", None, f"{note}: left out, as it is no video or GIF.")
    return Embedded(name, "image" if content[:4] == b"GIF8" else "video", source, note)


def embed_picture(name: str, content: bytes, note: str, budget: Budget) -> Embedded:
    """A picture for the page, if it is one and fits."""
    source = data_uri(content)
    if source is None or source.startswith("data:video"):
        return Embedded(name, "image", None, f"{note}: left out, as it is no picture.")
    if not budget.take(len(content), name):
        size = megabytes(len(content))
        return Embedded(name, "image", None, f"{note}, {size}: left out, as the page is full.")
    return Embedded(name, "image", source, note)


def data_uri(content: bytes) -> Markup | None:
    """The content as an address that needs no file; None unless its first bytes tell its kind.

    The kind is that of the bytes and never of the name, so that nothing but a picture or a video
    gets onto the page.
    """
    kinds = [
        (content[:8] == b"\x89PNG\r\n\x1a\n", "image/png"),
        (content[:3] == b"\xff\xd8\xff", "image/jpeg"),
        (content[:6] in (b"GIF87a", b"GIF89a"), "image/gif"),
        (content[4:8] == b"ftyp", "video/mp4"),
        (content[:4] == b"\x1aE\xdf\xa3", "video/webm"),
    ]
    if content[:5] in (b"<?xml", b"<svg ") and b"<svg" in content[:2000]:  # in <img> no script runs
        kinds.append((True, "image/svg+xml"))
    kind = next((kind for is_it, kind in kinds if is_it), None)
    if kind is None:
        return None
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def megabytes(size: int) -> str:
    """As "1.2 MB"."""
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size:,} bytes"


__all__ = [
    "TOTAL_BYTES",
    "VIDEO_BYTES",
    "Budget",
    "Embedded",
    "Picture",
    "data_uri",
    "embed_picture",
    "megabytes",
    "newest_pictures",
    "videos_in",
]
