"""Options may be spelled with - or _ between their words."""

from __future__ import annotations

import pytest

from lawm.cli import _parser, main
from lawm.cli.fit_parser import parse_fit
from lawm.cli.option_spelling import in_known_spelling, options_of

KNOWN = {"--run_dir", "--allow-import", "--data.shards", "--data.label_seed"}


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("--run-dir", "--run_dir"),
        ("--run_dir=my-run_1", "--run_dir=my-run_1"),
        ("--run-dir=my-run_1", "--run_dir=my-run_1"),
        ("--allow_import=my_module", "--allow-import=my_module"),
        ("--data.label-seed", "--data.label_seed"),
        ("--data.shards+=more-data.h5", "--data.shards+=more-data.h5"),
        ("--no-such_option", "--no-such_option"),
        ("my-shard_1.h5", "my-shard_1.h5"),
        ("--", "--"),
    ],
)
def test_an_option_is_found_in_either_spelling_and_its_value_stays(given, known):
    assert in_known_spelling([given], KNOWN) == [known]


def test_no_two_options_of_the_commands_differ_in_their_separators_alone():
    options = set(options_of(_parser()))
    assert {"--env_id", "--action-repeat", "--world-models-from", "--batch_sizes"} <= options
    assert len({option.replace("_", "-") for option in options}) == len(options)


def test_fit_takes_hyphens(tmp_path):
    options = ["--data.shards", "a.h5", "--run-dir", str(tmp_path), "--data.label-seed", "3"]
    request = parse_fit(options)
    assert request.run_dir == tmp_path
    assert request.config.data["label_seed"] == 3


def test_other_commands_take_underscores(tmp_path, capsys):
    target = str(tmp_path / "x.h5")
    collect = ["data", "collect", "--env", "dm_control/cheetah-run", "--steps", "1000", target]
    assert main([*collect, "--action_repeat", "0"]) == 2
    error = capsys.readouterr().err
    assert "unrecognized" not in error
    assert "repeat" in error
