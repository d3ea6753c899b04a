"""Videos from anywhere, damaged, cut short or hostile: a sentence that names the file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from video_writers import numbered_frames, numbers_in, write_video

from lawm.data_modules.importers import video_decoder, video_process
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import run_import
from lawm.data_modules.importers.video_files import find_videos
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

av = pytest.importorskip("av")

NUM, KEY_FRAME_EVERY = 60, 10


def grainy(num: int = NUM, size: tuple[int, int] = (64, 64)) -> NDArray[Any]:
    """Noise, so that each frame takes some bytes that can be hit."""
    frames = numbered_frames(num, size).astype(int)
    noise = np.random.default_rng(0).integers(-20, 20, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def clip(folder: Path, name: str = "a.mp4", **container_options: str) -> Path:
    options = {"g": str(KEY_FRAME_EVERY), "bf": "0", "sc_threshold": "0"}
    return write_video(
        folder / name, grainy(), options=options, container_options=container_options
    )


def imported(source: Path, **options: Any) -> tuple[Shard, list[str]]:
    path = source.parent / "out.h5"
    report = run_import(source, path, ImportOptions(video=VideoOptions(**options)))
    return read_shard(path, verify=True), list(report.notes)


def refused(source: Path, message: str, **options: Any) -> None:
    path = source.parent / "out.h5"
    with pytest.raises(LawmError, match=f"(?s){message}"):
        run_import(source, path, ImportOptions(**options))
    left = [file for file in source.parent.iterdir() if file.name.startswith("out")]
    assert left == [], "something was written"


def damage(path: Path, number: int) -> None:
    """Overwrite the bytes of one frame."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = bytes([*container.demux(video=0)][number])
    at = data.find(packet)
    data[at : at + len(packet)] = np.random.default_rng(1).bytes(len(packet))
    path.write_bytes(data)


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_damaged_frame_ends_the_trajectory(tmp_path: Path, name: str) -> None:
    source = clip(tmp_path, name)
    damage(source, 33)
    shard, notes = imported(source)
    assert numbers_in(shard.obs["pixels"]) == [*range(33), *range(40, NUM)], "from a key frame on"
    assert shard.episodes.lengths.tolist() == [32, 19]
    (note,) = (note for note in notes if "cannot be decoded" in note)
    assert note.startswith(f"{name} at 1.650 s: a frame cannot be decoded")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_file_that_was_cut_short_gives_what_it_has(tmp_path: Path, name: str) -> None:
    faststart = {"movflags": "+faststart"} if name == "a.mp4" else {}
    source = cut(clip(tmp_path, name, **faststart), 0.5)
    shard, notes = imported(source)
    numbers = numbers_in(shard.obs["pixels"])
    assert numbers == list(range(len(numbers))) and 10 < len(numbers) < 40
    assert any(f"{name} at " in note and "the file breaks off" in note for note in notes)


def test_without_its_table_a_file_cannot_be_read(tmp_path: Path) -> None:
    refused(cut(clip(tmp_path), 0.9), r"a\.mp4 cannot be read as mp4: Invalid data .* cut short")


def test_one_file_of_a_folder_stops_the_import(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    clip(folder, "a.mp4")
    cut(clip(folder, "b.mp4"), 0.9)
    refused(folder, r"b\.mp4 cannot be read as mp4")
    (folder / "b.mp4").write_bytes(b"")
    refused(folder, r"b\.mp4 is no mp4, mov, mkv, webm, avi or gif file: it is empty")
    (folder / "b.mp4").write_text("Sorry, this video is not available in your country.")
    refused(folder, r"b\.mp4 is no mp4, .* file: it has 51 bytes that begin like none of them")


def empty(folder: Path) -> Path:
    (folder / "a.mp4").write_bytes(b"")
    return folder / "a.mp4"


def one_frame(folder: Path) -> Path:
    return write_video(folder / "a.mp4", numbered_frames(1))


def sound_alone(folder: Path) -> Path:
    with av.open(str(folder / "a.mp4"), "w") as container:
        audio = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.rate = 8000
        container.mux(audio.encode(silence))
        container.mux(audio.encode(None))
    return folder / "a.mp4"


def huge(folder: Path) -> Path:
    """A picture of 65535 x 65535 that is declared and not there."""
    source = write_video(folder / "a.gif", numbered_frames(2), codec="gif", pixel_format="rgb8")
    data = bytearray(source.read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"
    source.write_bytes(data)
    return source


def strip(folder: Path) -> Path:
    frames = np.zeros((3, 4, 512, 3), np.uint8)
    return write_video(folder / "a.mov", frames, codec="png", pixel_format="rgb24")


def playlist(folder: Path) -> Path:
    write_video(folder / "b.mp4", numbered_frames(9))
    (folder / "a.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n")
    return folder / "a.mp4"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (empty, r"a\.mp4 is of no format .*video: is empty"),
    "one frame": (one_frame, r"a\.mp4 holds no trajectory of 2 pictures .* the longest .* has 1"),
    "sound": (sound_alone, r"a\.mp4 has no video in it"),
    "huge": (huge, r"a\.gif (declares frames of|cannot be)"),
    "strip": (strip, r"a\.mov: frames of 512 x 4 .* strips; expected sides of at most 20 : 1"),
    "playlist": (playlist, r"a\.mp4 is of no format .*video: begins as no video"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_file_is_a_sentence(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    refused(make(tmp_path), message)


def test_a_playlist_is_not_followed_when_videos_are_forced(tmp_path: Path) -> None:
    refused(playlist(tmp_path), r"a\.mp4 is no mp4", format="video")


def test_the_same_file_twice(tmp_path: Path) -> None:
    source = clip(tmp_path)
    (tmp_path / "link.mp4").symlink_to(source)
    refused(source, r"link\.mp4 is given twice", more_sources=(tmp_path / "link.mp4",))
    refused(source, r"no file or folder .*gone\.mp4", more_sources=(tmp_path / "gone.mp4",))
    (tmp_path / "none").mkdir()
    refused(source, r"folder .*none has no mp4", more_sources=(tmp_path / "none",))


def test_frames_that_change_their_size_end_the_trajectory(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj444p"
        for number, values in enumerate(numbered_frames(20)):
            size = 64 if number < 12 else 96
            frame = av.VideoFrame.from_ndarray(values, format="rgb24")
            coder = av.CodecContext.create("mjpeg", "w")
            coder.width = coder.height = size
            coder.pix_fmt, coder.time_base = "yuvj444p", stream.codec_context.time_base or 1
            for packet in coder.encode(frame.reformat(size, size, "yuvj444p")):
                packet.stream, packet.pts, packet.dts = stream, 50 * number, 50 * number
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    shard, notes = imported(source)
    assert shard.episodes.lengths.tolist() == [11, 7]
    assert numbers_in(shard.obs["pixels"]) == list(range(20))
    assert "a.mkv at 0.600 s: the frames change to 96 x 96; the trajectory ends there" in notes


def test_a_decoder_that_dies_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is forked, and so dies of what is put here."""
    source = clip(tmp_path)

    def die(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(video_decoder.PictureMaker, "__call__", die)
    refused(source, r"a\.mp4 cannot be read: .* its process \(killed by SIGKILL\)\. The file")


def test_a_decoder_that_hangs_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path)
    monkeypatch.setattr(video_decoder.PictureMaker, "__call__", lambda *args: time.sleep(60))
    monkeypatch.setattr(video_process, "PATIENCE", 3.0)
    refused(source, r"a\.mp4 cannot be read: decoding it went on for 3 s without a picture")


def test_a_decoder_that_takes_all_memory_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path)
    monkeypatch.setattr(video_process, "MEMORY", 256 << 20)
    monkeypatch.setattr(
        video_decoder.PictureMaker, "__call__", lambda *args: np.ones(1 << 30, np.uint8)
    )
    refused(source, r"a\.mp4 cannot be decoded within 0 GiB of memory")


def test_a_killed_decoder_leaves_no_process(tmp_path: Path) -> None:
    source = clip(tmp_path)
    (file,), _ = find_videos([source])
    messages = video_process.decoded(file, VideoOptions(), 0.05)
    next(messages)
    assert multiprocessing.active_children()
    messages.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    refused(source, r"need the package av, .*pip install 'lawm\[video\]'")
