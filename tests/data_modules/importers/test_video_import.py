"""Which frames of a video become which steps of which trajectory, and what is odd is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from video_imports import imported, pictures
from video_writers import numbered_frames, numbers_in, write_video

from lawm.cli import main
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import plan_import, run_import
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError

av = pytest.importorskip("av")

FRAMES = numbered_frames(30)


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
