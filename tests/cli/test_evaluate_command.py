from __future__ import annotations

import json
import shutil

import pytest
from tiny_runs import tiny_fit, tiny_shard

import lawm
from lawm.cli import main
from lawm.errors import LawmError
from lawm.return_number import return_number
from lawm.run_folder import RunFolder


@pytest.mark.parametrize("checkpoint", ["last", "selected", "best"])
def test_it_measures_a_run(checkpoint, finished_run, tmp_path, capsys):
    path = tmp_path / "numbers.json"
    arguments = ["--episodes", "3", "--checkpoint", checkpoint, "--json", str(path)]
    assert main(["evaluate", str(finished_run), *arguments]) == 0
    numbers = json.loads(path.read_text())
    assert numbers["episodes"] == 3
    assert numbers["checkpoint"] == checkpoint
    shown = capsys.readouterr().out
    assert f"Return {return_number(numbers['mean'])}" in shown
    assert ("of these starts `best` was chosen" in shown) == (checkpoint == "best")
    assert main(["evaluate", str(finished_run), *arguments[:4], "--seed", "7"]) == 0
    assert "of these starts" not in capsys.readouterr().out


def test_it_agrees_with_the_evaluation_of_the_run(finished_run, tmp_path):
    path = tmp_path / "numbers.json"
    assert main(["evaluate", str(finished_run), "--episodes", "1", "--json", str(path)]) == 0
    final = json.loads((finished_run / "report.json").read_text())["evaluation"]["final"]
    assert json.loads(path.read_text())["mean"] == pytest.approx(final["mean"], rel=1e-5)


def test_it_films_an_episode(finished_run, tmp_path):
    video = tmp_path / "episode.gif"
    assert main(["evaluate", str(finished_run), "--episodes", "1", "--video", str(video)]) == 0
    assert video.read_bytes().startswith(b"GIF8")


def test_the_environment_can_be_named(finished_run, capsys):
    assert main(["evaluate", str(finished_run), "--env_id", "tinny/line"]) == 2
    assert "'tiny/line'" in capsys.readouterr().err


def test_the_environment_of_the_run_comes_before_that_of_the_data(tmp_path):
    """The run was measured in an environment other than the one that its data name."""
    run, path = tmp_path / "run", tmp_path / "numbers.json"
    shard = tiny_shard(tmp_path, env_id="unheard/of")
    assert tiny_fit(shard, run, "--evaluation.env_id", "tiny/line") == 0
    assert main(["evaluate", str(run), "--episodes", "1", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["environment"] == "tiny/line"


@pytest.mark.parametrize("chosen", ["none", "null"])
def test_a_run_that_was_measured_nowhere_takes_the_environment_of_the_data(
    chosen, finished_run, tmp_path
):
    config, path = RunFolder(finished_run).config_file, tmp_path / "numbers.json"
    before, evaluation, settings = config.read_text().partition("\nevaluation:\n")
    assert evaluation
    config.write_text(f"{before}{evaluation}  env_id: {chosen}\n{settings}")
    assert main(["evaluate", str(finished_run), "--episodes", "1", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["environment"] == "tiny/line"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--episodes", "0"), "expected at least 1"),
        (("--json", "replay.h5"), "expected a file that ends in .json; it would be written over"),
        (("--json", "nowhere/x.json"), "the folder nowhere does not exist"),
        (("--video", "x.avi"), "expected '.mp4' or '.gif'"),
        (("--checkpoint", "first"), "invalid choice"),
    ],
)
def test_bad_options_are_refused(more, message, finished_run, capsys):
    assert main(["evaluate", str(finished_run), *more]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_a_policy_is_refused(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--stage", "world_model") == 0
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    missing = RunFolder(run).stage("policy").last_checkpoint
    assert f"checkpoint {missing} does not exist" in capsys.readouterr().err


def test_data_without_an_environment_needs_one_named(tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_shard(tmp_path, env_id=""), run) == 0
    assert main(["evaluate", str(run)]) == 2
    assert "give one with --env_id" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--env_id", "tiny/line", "--episodes", "1"]) == 0


def test_a_checkpoint_of_an_unknown_name_is_refused(finished_run):
    with pytest.raises(LawmError, match=r"'foo'; expected one of 'last', 'selected', 'best'"):
        lawm.load(finished_run, checkpoint="foo")


def test_a_run_that_selected_no_policy_says_so(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    RunFolder(run).stage("policy").selected_checkpoint.unlink()
    assert main(["evaluate", str(run), "--checkpoint", "selected"]) == 2
    assert "no policy of this run was selected" in capsys.readouterr().err
