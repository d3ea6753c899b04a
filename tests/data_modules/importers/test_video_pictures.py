"""Videos that FFmpeg's encoders wrote: colours, order and orientation come back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_imports import NO_CUTS, imported, pictures
from video_writers import numbered_frames, numbers_in, write_video

av = pytest.importorskip("av")

FRAMES = numbered_frames(30)
LOSSLESS = {
    "mp4": ("libx264rgb", "rgb24", {"qp": "0"}),
    "avi": ("ffv1", "bgr0", {}),
    "mov": ("png", "rgb24", {}),
    "mkv": ("ffv1", "gbrp10le", {}),
}


@pytest.mark.parametrize("ending", LOSSLESS)
def test_lossless_pictures_come_back_exactly(tmp_path: Path, ending: str) -> None:
    codec, pixel_format, options = LOSSLESS[ending]
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    source = write_video(
        tmp_path / f"a.{ending}", frames, codec=codec, pixel_format=pixel_format, options=options
    )
    shard, report = imported(source, size=(48, 64), **NO_CUTS)
    np.testing.assert_array_equal(shard.obs["pixels"], frames)
    assert shard.action is None and shard.reward is None
    assert not shard.episodes.has_action.any() and not shard.episodes.has_reward.any()
    assert shard.meta.action_dim == 0
    assert shard.meta.control_timestep == pytest.approx(1 / 20, rel=1e-6)
    assert shard.truncated[18] and not shard.terminated.any()
    assert report.to_dict()["format"] == "video"


LOSSY = {
    "a.mp4": ("libx264", "yuv420p"),
    "b.mp4": ("libx264", "yuv444p"),
    "c.mp4": ("libx264", "yuv422p10le"),
    "d.mp4": ("libx264", "yuvj420p"),
    "e.webm": ("libvpx-vp9", "yuv420p"),
    "f.mkv": ("ffv1", "yuv444p16le"),
    "g.avi": ("mpeg4", "yuv420p"),
}


EVERYWHERE = ("a.mp4", "c.mp4")  # the others are slow tests


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in EVERYWHERE else pytest.mark.slow) for n in LOSSY],
)
def test_colours_and_order_survive_every_layout(tmp_path: Path, name: str) -> None:
    codec, pixel_format = LOSSY[name]
    source = write_video(
        tmp_path / name, FRAMES, codec=codec, pixel_format=pixel_format, sound=name == "a.mp4"
    )
    found = pictures(source)
    assert numbers_in(found) == list(range(30))
    away = np.abs(found[:, 16:].astype(int) - FRAMES[:, 16:])
    assert away.mean() < 3.0 and away.max() < 30, (away.mean(), away.max())


def test_grey_alpha_and_palettes(tmp_path: Path) -> None:
    grey = write_video(tmp_path / "grey.mkv", FRAMES, codec="ffv1", pixel_format="gray")
    found = pictures(grey)
    assert (found == found[..., :1]).all() and numbers_in(found) == list(range(30))

    alpha = np.full((30, 64, 64, 1), 51, np.uint8)  # a fifth
    clear = write_video(
        tmp_path / "clear.mov",
        np.concatenate([FRAMES, alpha], -1),
        codec="qtrle",
        pixel_format="argb",
    )
    np.testing.assert_allclose(pictures(clear)[:, 20:], FRAMES[:, 20:] // 5, atol=1)

    palette = write_video(tmp_path / "a.gif", FRAMES, codec="gif", pixel_format="rgb8")
    found = pictures(palette)
    assert numbers_in(found) == list(range(30))
    np.testing.assert_allclose(found[:, 20:], FRAMES[:, 20:], atol=66)  # two bits of blue


def test_each_pixel_is_the_mean_of_the_area_it_covers(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)
    source = write_video(tmp_path / "a.mov", frames, codec="png", pixel_format="rgb24")
    found = pictures(source, size=(24, 32), **NO_CUTS)
    means = frames.reshape(3, 24, 4, 32, 4, 3).mean((2, 4))
    np.testing.assert_allclose(found, means, atol=1.01)
    crop = pictures(source, size=(24, 24), **NO_CUTS)
    np.testing.assert_array_equal(crop, found[:, :, 4:28])
    boxed = pictures(source, size=(32, 32), aspect="letterbox", **NO_CUTS)
    np.testing.assert_array_equal(boxed[:, 4:28], found)
    assert not boxed[:, :4].any() and not boxed[:, 28:].any()


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    frames = np.full((3, 16, 16, 3), (10, 200, 90), np.uint8)
    source = write_video(tmp_path / "a.mov", frames, codec="png", pixel_format="rgb24")
    np.testing.assert_allclose(pictures(source), np.full((3, 64, 64, 3), (10, 200, 90)), atol=1)


@pytest.mark.parametrize("angle", [90, pytest.param(180, marks=pytest.mark.slow)])
def test_a_turned_phone_is_turned_back(tmp_path: Path, angle: int) -> None:
    """As FFmpeg's own program shows it."""
    import subprocess

    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    frames = np.random.default_rng(0).integers(0, 256, (4, 4, 6, 3), dtype=np.uint8)
    frames = frames.repeat(8, 1).repeat(8, 2)  # (4, 32, 48, 3)
    flat = write_video(tmp_path / "flat.mov", frames, codec="png", pixel_format="rgb24")
    turned, shown = tmp_path / "turned.mov", tmp_path / "shown.mov"
    for words in (
        ["-display_rotation", str(angle), "-i", flat, "-c", "copy", turned],
        ["-i", turned, "-c:v", "png", shown],
    ):
        subprocess.run([program, "-loglevel", "error", *words], check=True)
    size = (32, 48) if angle == 180 else (48, 32)
    expected = pictures(shown, size=size, **NO_CUTS)
    assert (expected != pictures(flat, size=size, **NO_CUTS)).any()
    np.testing.assert_array_equal(pictures(turned, size=size, **NO_CUTS), expected)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 32, 64, "yuv444p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for values in numbered_frames(4, (64, 32)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode(None))
    assert numbers_in(pictures(source)) == [0, 1, 2, 3], "the whole width is seen"
