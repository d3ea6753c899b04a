from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from lawm.cli import main
from lawm.cli.data_commands import add_data_parser, run_data
from lawm.cli.import_command import import_options
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.shard_reader import read_shard
from lawm.errors import LawmError


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lawm")
    add_data_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["data", *words])


def archive(folder: Path) -> Path:
    path = folder / "a b.npz"
    np.savez(path, obs=np.ones((2, 4, 5)), act=np.full((2, 3, 1), 2.0), rew=np.ones((2, 3)))
    return path


@pytest.mark.parametrize(
    "asked",
    [
        ImportOptions(),
        ImportOptions(
            format="robomimic",
            env_id="dm_control/walker-walk",
            action_repeat=2,
            control_timestep=0.025,
            action_bounds=(-2.0, 0.5),
            action_convention="led_into",
            keys=("robot0 pos=state", "image"),
            filter="20_percent",
            max_episode_steps=1000,
            max_episodes=7,
        ),
        ImportOptions(measure_bounds=True, action_free=True),
    ],
)
def test_the_recorded_command_asks_for_the_same(asked: ImportOptions) -> None:
    source, path = Path("a folder/with -dashes"), Path("x.h5")
    program, command, *words = shlex.split(asked.command(source, path))
    assert (program, command) == ("lawm", "data")
    args = parse(*words)
    assert (args.sources, args.path) == ([source, *asked.more_sources], path)
    assert import_options(args) == asked


def test_the_defaults_are_those_of_the_options() -> None:
    assert import_options(parse("import", "a", "b")) == ImportOptions()


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, path = archive(tmp_path), tmp_path / "a.h5"
    assert run_data(parse("import", "--dry-run", str(source), str(path))) == 0
    shown = capsys.readouterr().out
    assert "plan, nothing was written" in shown
    assert "float32 (5,), was obs, from float64" in shown
    assert list(tmp_path.iterdir()) == [source]


def test_the_report_as_json(tmp_path: Path) -> None:
    source, path, report = archive(tmp_path), tmp_path / "a.h5", tmp_path / "a.json"
    words = ["import", "--measure-bounds", str(source), str(path), "--report", str(report)]
    assert run_data(parse(*words)) == 0
    values = json.loads(report.read_text())
    shard = read_shard(path)
    assert values["checksum"] == shard.meta.checksum
    assert (values["episodes"], values["transitions"], values["format"]) == (2, 6, "numpy")
    assert values["action"]["low"] == shard.meta.action_low.tolist() == [1.0]
    assert values["action"]["high"] == shard.meta.action_high.tolist() == [3.0]
    with pytest.raises(LawmError, match=r"a\.json exists already and is left as it is"):
        run_data(parse(*words))
    assert run_data(parse(*words, "--overwrite")) == 0


def test_what_is_dropped_is_neither_measured_nor_breaks_the_report(tmp_path: Path) -> None:
    """Shared rows: the last holds no action that was taken, and an infinite reward."""
    source, path, report = tmp_path / "a.npz", tmp_path / "a.h5", tmp_path / "a.json"
    action, reward = np.full((2, 4, 1), 2.0), np.ones((2, 4))
    action[0, 0], action[1], action[:, 3], reward[:, 3] = 1.0, 9.0, -5.0, np.inf
    np.savez(source, obs=np.ones((2, 4, 5)), act=action, rew=reward)
    words = ["--measure-bounds", "--action-convention", "taken_at", "--max-episodes", "1"]
    assert run_data(parse("import", *words, str(source), str(path), "--report", str(report))) == 0
    meta = read_shard(path).meta
    assert (meta.action_low.tolist(), meta.action_high.tolist()) == ([1.0], [2.0])
    assert json.loads(report.read_text())["dropped"]["sum_of_those_rewards"] == "inf"


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_is_imported_is_never_written_over(
    tmp_path: Path, dry_run: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, path = archive(tmp_path), tmp_path / "a.h5"
    before = source.read_bytes()
    for words in (
        [source, source],
        [source, path, "--report", source],
        [source, path, "--report", path],
        [tmp_path, source],
        [tmp_path, path, "--report", source],
    ):
        assert main(["data", "import", *map(str, words), "--overwrite", *dry_run]) == 2
        error = capsys.readouterr().err
        assert "is named twice" in error or "Write to another name" in error
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    source, folder = archive(tmp_path), tmp_path / "none"
    words = ["import", "--dry-run", str(source), "x.h5", "--report", str(folder / "a.json")]
    with pytest.raises(LawmError, match=r"The report .*a\.json cannot be written"):
        run_data(parse(*words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.npz", "x.h5"], "There is no file or folder gone.npz"),
        (["gone", "x.h5", "--format", "npz"], "--format is 'npz'; expected one of numpy, d4rl"),
        (["gone", "x.h5", "--max-episodes", "0"], "--max-episodes is 0; expected at least 1"),
        (
            ["gone", "x.h5", "--measure-bounds", "--action-bounds", "0", "1"],
            "--action-bounds and --measure-bounds contradict",
        ),
    ],
)
def test_a_mistake_is_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "import", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
