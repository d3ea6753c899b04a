from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shard_factory import write_shard

from lawm.cli.data_commands import add_data_parser, run_data
from lawm.data_modules.collect import CollectConfig
from lawm.data_modules.shard_reader import read_shard


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lawm")
    add_data_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["data", *words])


def config(args: argparse.Namespace) -> CollectConfig:
    names = CollectConfig.__dataclass_fields__
    return CollectConfig(**{name: value for name, value in vars(args).items() if name in names})


@pytest.mark.parametrize(
    "asked",
    [
        CollectConfig(Path("a b.h5"), "dm_control/cheetah-run"),
        CollectConfig(
            Path("x.h5"),
            "dm_control/walker-walk",
            policy="sac",
            steps=500,
            action_repeat=4,
            seed=9,
            keep="both",
            checkpoint_every=250,
            rollout_episodes=3,
            store_physics=True,
        ),
    ],
)
def test_the_recorded_command_asks_for_the_same(asked: CollectConfig) -> None:
    program, command, *words = shlex.split(asked.command())
    assert (program, command) == ("lawm", "data")
    assert config(parse(*words)) == asked


def test_the_defaults_are_those_of_the_config() -> None:
    args = parse("collect", "--env", "dm_control/cheetah-run", "x.h5")
    assert config(args) == CollectConfig(Path("x.h5"), "dm_control/cheetah-run")


def test_collect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.h5"
    words = ["collect", "--env", "dm_control/pendulum-swingup", "--action-repeat", "20"]
    assert run_data(parse(*words, "--steps", "100", str(path))) == 0
    assert "x.h5: 2 episodes, 100 steps; returns: min" in capsys.readouterr().out
    assert read_shard(path).episodes.num_episodes == 2


def test_import_and_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path, plot = tmp_path / "a.npz", tmp_path / "a.h5", tmp_path / "a.png"
    np.savez(source, obs=np.ones((2, 4, 5)), act=np.full((2, 3, 1), 2.0), rew=np.ones((2, 3)))
    assert run_data(parse("import", str(source), str(path), "--action-bounds", "-2", "2")) == 0
    assert "2, 6 transitions; lengths min 3" in capsys.readouterr().out
    assert run_data(parse("info", str(path), "--plot", str(plot))) == 0
    assert "float32 (5,)" in capsys.readouterr().out
    assert plot.exists()


def test_info_imports_no_torch(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "x.h5", lengths=[4])
    code = (
        "import argparse, sys\n"
        "from lawm.cli.data_commands import run_data\n"
        "from pathlib import Path\n"
        "args = argparse.Namespace(data_command='info', paths=[Path(sys.argv[1])], plot=None)\n"
        "run_data(args)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'lightning', 'dm_control')))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
