import importlib.util
import subprocess

import numpy as np
import pytest
from PIL import Image

from lawm.errors import LawmError
from lawm.video import check_video_path, write_video


@pytest.fixture
def frames():
    """A white bar that moves one column a frame, (16, 32, 48, 3)."""
    frames = np.zeros((16, 32, 48, 3), dtype=np.uint8)
    for i, frame in enumerate(frames):
        frame[:, 3 * i : 3 * i + 3] = 255
    return frames


def read_gif(path):
    with Image.open(path) as image:
        pictures, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return np.stack(pictures), durations


def test_gif_holds_the_frames_in_real_time(frames, tmp_path):
    path = tmp_path / "new" / "folder" / "v.gif"
    write_video(frames, path, fps=20.0)
    pictures, durations = read_gif(path)
    np.testing.assert_array_equal(pictures, frames)
    assert set(durations) == {50}


def test_fast_frames_are_thinned_and_time_stays_real(frames, tmp_path):
    write_video(frames, tmp_path / "v.gif", fps=100.0)
    pictures, durations = read_gif(tmp_path / "v.gif")
    np.testing.assert_array_equal(pictures, frames[::2])
    assert set(durations) == {20}


def test_mp4_holds_the_frames(frames, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "v.mp4"
    write_video(frames, path, fps=25.0)
    assert ffmpeg.count_frames_and_secs(str(path)) == (16, pytest.approx(16 / 25))
    decode = [ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, dtype=np.uint8).reshape(frames.shape)
    assert np.abs(pictures.astype(int) - frames).mean() < 25  # lossy


def test_other_endings_are_refused(frames, tmp_path):
    with pytest.raises(LawmError, match=r"v\.avi ends in '\.avi', expected '\.mp4' or '\.gif'"):
        write_video(frames, tmp_path / "v.avi", fps=20.0)
    assert list(tmp_path.iterdir()) == []


def test_mp4_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LawmError, match=r"needs the extra 'video': pip install -e '.\[video\]'"):
        check_video_path(tmp_path / "v.mp4")
    check_video_path(tmp_path / "v.gif")
