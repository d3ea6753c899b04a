"""The CSV of a grid: a row a finished run, read back as it was."""

from __future__ import annotations

import os

import pytest
from grid_factory import ROW, row

from lawm.atomic_write import is_leftover
from lawm.benchmarks.grid_rows import COLUMNS, read_rows, row_from_report, write_rows
from lawm.errors import LawmError


def test_rows_come_back_from_the_file_as_they_were(tmp_path):
    file = tmp_path / "deep" / "rows.csv"
    empty = row("bc", None, action_r2=None, verdict="", hours=None, commit="", step_best=None)
    write_rows(file, [row(seed=1), empty, ROW])
    lines = file.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[3] == (
        "cheetah,cheetah_replay,bc,0.1,15,7500,0,,12.5,50,305.0,400,,,,,143.8,360.9,,"
        "a processor,h,,0.1.0,lawm fit --config conf/cheetah.yaml --seed 0"
    )
    assert read_rows(file, all_columns=True) == [ROW, row(seed=1), empty]
    again = tmp_path / "again.csv"
    write_rows(again, [ROW, row(seed=1), empty])
    assert again.read_bytes() == file.read_bytes(), "whatever the order in which runs end"


def test_a_writer_that_dies_leaves_the_rows_that_were_there(tmp_path, monkeypatch):
    file = tmp_path / "rows.csv"
    write_rows(file, [ROW])

    def die(descriptor):
        raise OSError("killed")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="killed"):
        write_rows(file, [ROW, row(seed=1)])
    assert read_rows(file) == [ROW]
    assert [path for path in tmp_path.iterdir() if not is_leftover(path)] == [file]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("task,seed\ncheetah,0\n", "lacks the columns method, labelled_fraction, return_final"),
        (
            "task,method,labelled_fraction,seed,return_final\nc,lawm,0.1,0,good\n",
            "line 2: return_final is 'good'; expected a number",
        ),
        (
            "task,method,labelled_fraction,seed,return_final\nc,lawm,0.1,0,nan\n",
            "return_final is 'nan'; expected a number",
        ),
        (
            "task,method,labelled_fraction,seed,return_final\nc,lawm,0.1,1.5,2\n",
            "seed is '1.5'; expected a whole number",
        ),
        (
            "task,method,labelled_fraction,seed,return_final\n" + "c,lawm,0.1,0,1\n" * 2,
            "two rows of one run, c lawm, 10% labelled, seed 0",
        ),
        ("\0", "not a CSV file|lacks the columns"),
    ],
)
def test_a_file_that_is_no_table_of_runs_is_refused(tmp_path, text, sentence):
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(LawmError, match=sentence):
        read_rows(file)


def test_what_writing_would_lose_is_refused(tmp_path):
    file = tmp_path / "rows.csv"
    write_rows(file, [ROW])
    text = file.read_text().replace("command", "command,mine", 1)
    file.write_text(text)
    assert read_rows(file) == [ROW]
    with pytest.raises(LawmError, match="has the column mine"):
        read_rows(file, all_columns=True)
    with pytest.raises(LawmError, match="does not exist"):
        read_rows(tmp_path / "nowhere.csv")


def test_a_run_whose_last_evaluation_failed_has_a_row_with_empty_returns():
    report = {
        "data": {"labelled episodes": 3, "return mean": None},
        "evaluation": {"final": {"error": "the simulator hangs"}, "failures": 2},
        "stages": {
            "inverse_dynamics": {"seconds": 36.0, "metrics": {"held_out/action_r2": 0.5}},
            "policy": {"seconds": 324.0, "metrics": {}},
        },
    }
    made_with = dict.fromkeys(("machine", "config_hash", "commit", "version", "command"), "x")
    found = row_from_report(ROW.key, report, **made_with)
    assert found.return_final is found.return_best is found.step_best is found.data_mean is None
    assert (found.action_r2, found.hours, found.labelled_episodes) == (0.5, 0.1, 3)
