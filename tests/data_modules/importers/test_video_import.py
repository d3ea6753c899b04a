"""Videos that FFmpeg's encoders wrote: colours and order come back, and what is odd is told."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from video_writers import numbered_frames, numbers_in, write_video

from lawm.cli import main
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.import_report import ImportReport
from lawm.data_modules.importers.run_import import plan_import, run_import
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.shard_format import Shard
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

av = pytest.importorskip("av")

FRAMES = numbered_frames(30)
NO_CUTS = {"cut_threshold": 1.0}


def imported(source: Path, *more: Path, **options: Any) -> tuple[Shard, ImportReport]:
    """The options are those of videos, but for the first ones named here."""
    others = {
        k: options.pop(k)
        for k in ("env_id", "action_repeat", "max_episode_steps", "keys")
        if k in options
    }
    path = source.parent / "out.h5"
    asked = ImportOptions(
        video=VideoOptions(**options), more_sources=more, overwrite=True, **others
    )
    report = run_import(source, path, asked)
    return read_shard(path, verify=True), report


def pictures(source: Path, **options: Any) -> NDArray[Any]:
    return imported(source, **options)[0].obs["pixels"]


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


def test_frames_are_chosen_by_time(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", numbered_frames(60), fps=30000 / 1001)
    shard, report = imported(source, fps=10)
    assert numbers_in(shard.obs["pixels"]) == list(range(0, 60, 3))
    assert shard.meta.control_timestep == pytest.approx(0.1)
    notes = " ".join(report.notes)
    assert "1 of h264, 64 x 64, 29.97 frames/s" in notes
    assert "one each 0.1 s: 20 of 60, one of 3.00; 0 steps repeat" in notes
    twice, report = imported(source, fps=60000 / 1001)
    assert numbers_in(twice.obs["pixels"]) == [t for t in range(60) for _ in (0, 1)]
    assert "60 steps repeat" in " ".join(report.notes)
    by_number, _ = imported(source, every=7)
    assert numbers_in(by_number.obs["pixels"]) == list(range(0, 60, 7))
    assert by_number.meta.control_timestep == 0.0, "nobody said how long a step is"
    stated, _ = imported(source, every=7, control_timestep=0.025, action_repeat=2)
    assert (stated.meta.control_timestep, stated.meta.action_repeat) == (0.025, 2)
    matched, _ = imported(source, control_timestep=0.05, action_repeat=2)
    assert numbers_in(matched.obs["pixels"]) == list(range(0, 60, 3))


def test_a_variable_rate(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.2, 0.5, 0.55, 0.6]
    for ending in ("mp4", "mkv"):
        source = write_video(tmp_path / f"a.{ending}", numbered_frames(7), times=times)
        shard, report = imported(source, fps=20)
        assert numbers_in(shard.obs["pixels"])[:13] == [0, 0, 1, 2, *[3] * 6, 4, 5, 6]
        assert "variable frame rate: 1 (a." in " ".join(report.notes)


def test_the_environment_gives_the_step(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", FRAMES, fps=50)
    shard, report = imported(source, env_id="dm_control/cheetah-run", action_repeat=4)
    assert (shard.meta.control_timestep, shard.meta.action_repeat) == (0.01, 4)
    assert numbers_in(shard.obs["pixels"]) == list(range(0, 30, 2))
    assert shard.meta.env_id == "dm_control/cheetah-run"
    assert shard.meta.action_dim == 6, "bounds that the environment knows"
    assert report.to_dict()["convention"]["reason"] == "video knows no actions"


def scenes(*lengths: int) -> NDArray[Any]:
    """Pictures that move a little, of a new scene after each length."""
    rng = np.random.default_rng(0)
    parts = []
    for number, length in enumerate(lengths):
        scene = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        part = np.stack([np.roll(scene, t, 1) for t in range(length)])
        part[:, :8] = numbered_frames(length, first=sum(lengths[:number]))[:, :8]
        parts.append(part)
    return np.concatenate(parts)


def test_cuts_make_trajectories(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", scenes(20, 15, 4, 30))
    shard, report = imported(source)
    assert shard.episodes.lengths.tolist() == [19, 14, 3, 29]
    assert numbers_in(shard.obs["pixels"]) == list(range(69))
    cuts = "with --cut-threshold 0.15: 3 (a.mp4 at 1.00 s, a.mp4 at 1.75 s, a.mp4 at 1.95 s)"
    assert cuts in " ".join(report.notes)
    assert shard.episodes.source_id[1] == "a.mp4/1 at 1.00 s"
    whole, _ = imported(source, cut_threshold=1.0)
    assert whole.episodes.lengths.tolist() == [68]
    longer, report = imported(source, min_steps=10)
    assert longer.episodes.lengths.tolist() == [19, 14, 29]
    assert "1 trajectories of fewer than --min-steps 10 were dropped" in report.notes


def test_a_long_video_goes_on_in_another_trajectory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_video(tmp_path / "a.mp4", FRAMES)
    whole = list(range(30))
    expected = [*whole[:11], *whole[10:21], *whole[20:]]
    shard, report = imported(source, max_episode_steps=10)
    assert shard.episodes.lengths.tolist() == [10, 10, 9]
    assert numbers_in(shard.obs["pixels"]) == expected
    assert "2 trajectories reached 10 steps" in " ".join(report.notes)
    monkeypatch.setattr("lawm.data_modules.importers.video.MAX_TRAJECTORY_BYTES", 11 * 64 * 64 * 3)
    assert numbers_in(pictures(source)) == expected, "also where only memory asks for it"


def test_files_and_folders_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in (1, 2, 10):
        write_video(folder / f"{number}.mp4", numbered_frames(4, first=10 * number))
    (folder / "notes.txt").write_text("hello")
    wrong_name = write_video(tmp_path / "x.mkv", numbered_frames(3)).rename(tmp_path / "x.mp4")
    out, report = tmp_path / "out.h5", tmp_path / "out.json"
    words = [str(folder), str(wrong_name), str(out), "--size", "40", "--report", str(report)]
    assert main(["data", "import", *words]) == 0
    shard = read_shard(out)
    assert numbers_in(shard.obs["pixels"]) == [
        *range(10, 14),
        *range(20, 24),
        *range(100, 104),
        *range(3),
    ]
    assert shard.obs["pixels"].shape[1:] == (40, 40, 3)
    assert [name.split(" at")[0] for name in shard.episodes.source_id] == [
        "clips/1.mp4/0",
        "clips/2.mp4/0",
        "clips/10.mp4/0",
        "x.mp4/0",
    ]
    values = json.loads(report.read_text())
    assert values["left_out"] == {"notes.txt": "no video"}
    assert values["more_sources"] == [str(wrong_name)]
    for command in ("info", "check"):
        assert main(["data", command, str(out)]) == 0
    assert "(40, 40, 3)" in capsys.readouterr().out.replace("\n", "")


def test_a_plan_reads_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_video(tmp_path / "a.mp4", FRAMES)
    monkeypatch.setattr("lawm.data_modules.importers.video.decoded", None)
    plan = plan_import(source, tmp_path / "out.h5", ImportOptions()).to_dict()
    assert plan["observations"]["pixels"]["shape"] == [64, 64, 3]
    assert plan["control_timestep"] == pytest.approx(0.05)


def two_rates(folder: Path) -> Path:
    write_video(folder / "a.mp4", FRAMES, fps=30)
    write_video(folder / "b.mp4", FRAMES, fps=25)
    return folder


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "fps": ({"fps": -3.0}, r"--fps is -3; expected a number from"),
    "timestep": ({"control_timestep": 1e-9}, "--control-timestep is 1e-09; expected"),
    "both": ({"fps": 10.0, "control_timestep": 0.1}, "say the same in two ways; give one"),
    "every": ({"fps": 10.0, "every": 2}, "--fps chooses frames by their time, --every by"),
    "negative": ({"every": -1}, "--every is -1; expected at least 1"),
    "none": ({"min_steps": -1}, "--min-steps is -1; expected at least 1"),
    "cuts": ({"cut_threshold": 0.0}, "--cut-threshold is 0; expected a share"),
    "size": ({"size": (64, 0)}, "--size is 64x0; expected sides from 1 to 1024"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_an_option_that_makes_no_sense(case: str) -> None:
    options, message = MISTAKES[case]
    with pytest.raises(LawmError, match=message):
        VideoOptions(**options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "6x"], "--size is '6x'; expected a side such as 64, or HEIGHTxWIDTH"),
        (["--env", "dm_control/cheetah-run", "--fps", "10"], "says how long a step is; leave out"),
        (["--relabel"], "--relabel computes"),
        ([], r"a.mp4 has 30 frames a second and .*b.mp4 25. Choose one rate for all with --fps"),
        (["--format", "numpy", "--size", "32"], "A setting of videos .* is not for the format"),
    ],
)
def test_a_command_that_makes_no_sense(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    folder = two_rates(tmp_path)
    assert main(["data", "import", str(folder), str(tmp_path / "x.h5"), *words]) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert not (tmp_path / "x.h5").exists()


def test_several_sources_are_for_videos_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", obs=np.zeros((1, 4, 2)))
    options = ImportOptions(more_sources=(tmp_path / "b.npz",))
    with pytest.raises(LawmError, match="More than one source is not for the format numpy"):
        run_import(tmp_path / "a.npz", tmp_path / "x.h5", options)
