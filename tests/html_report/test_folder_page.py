from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from page_checks import check_page, write_run

from lawm.cli import main
from lawm.html_report.folder_figures import grouped, mean_of
from lawm.html_report.folder_record import read_folder, read_several
from lawm.html_report.run_files import Curve


@pytest.fixture
def grid(tmp_path):
    """As `lawm bench labels` leaves it: two seeds done, one stopped, one failed, one set aside."""
    folder = tmp_path / "grid"
    write_run(folder / "a" / "lawm-10pct-0", (100.0, 200.0), seed=0, env_id="x/a")
    write_run(folder / "a" / "lawm-10pct-1", (300.0, 400.0), seed=1, env_id="x/a")
    write_run(folder / "a" / "oracle-100pct-0", (500.0,), is_done=False, env_id="x/a")
    write_run(folder / "a" / "lawm-10pct-2.stale-1", (900.0,))
    for name, error in (("lawm-10pct-1", ""), ("oracle-100pct-0", "lawm: error: disk full")):
        (folder / "a" / f"{name}.json").write_text(json.dumps({"error": error}))
    (folder / "b").mkdir()
    (folder / "b" / "bc-10pct-0.json").write_text('{"error": "no such <b>shard</b>"}')
    table = io.StringIO()
    csv.writer(table).writerows([["task", "return"], ["<i>a</i>", "12.5"], ["b", ""]])
    (folder / "label_efficiency.csv").write_text(table.getvalue())
    (folder / "curve.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    (folder / "curve.png").write_bytes(b"the same once more")
    return folder


def test_the_page_of_a_grid(grid, capsys):
    assert main(["report", str(grid)]) == 0
    html = (grid / "report.html").read_text()
    page = check_page(html)
    for expected in (
        "2 finished, 1 unfinished",
        "a/lawm-10pct",
        "label_efficiency.csv, 2 rows",
        "<i>a</i>",
        "b/bc-10pct-0: no such <b>shard</b>",
        "The last attempt ended with: lawm: error: disk full",
        "not shown: a/lawm-10pct-2.stale-1",
        "Return in x/a.",
        "a/lawm-10pct, 2 runs",
        "R² of the action in x/a.",
        f"lawm report {grid}/a/lawm-10pct-0",
    ):
        assert expected in page.text, expected
    assert "900" not in page.text
    assert any(value.startswith("data:image/svg+xml") for value in page.values("src"))
    # the mean over seeds of final and of best, and its spread; the run that did not end is no part
    assert page.values("data-value")[:5] == ["300.0", repr(np.std([200, 400], ddof=1).item()),
                                             "200.0", "300.0", "0.8"]  # fmt: skip
    assert "sortable" in page.scripts[0]


def test_each_run_gets_its_page_and_a_link(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    for name in ("one", "two words"):
        run = write_run(folder / name, returns=())
        for stage in ("world_model", "policy"):
            (run / stage / "metrics.csv").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["report", "runs", "--each", "--out", "pages/all.html"]) == 0
    page = check_page((tmp_path / "pages" / "all.html").read_text())
    assert {"./../runs/one/report.html", "./../runs/two%20words/report.html"} <= set(
        page.values("href")
    )
    for name in ("one", "two words"):
        assert f"runs/{name}" in check_page((folder / name / "report.html").read_text()).text


def test_no_page_is_written_where_one_of_them_would_overwrite_a_file(tmp_path, capsys):
    for name in ("one", "two"):
        write_run(tmp_path / "runs" / name)
    (tmp_path / "runs" / "two" / "report.html").write_text("mine")
    assert main(["report", str(tmp_path / "runs"), "--each"]) == 2
    assert "lawm overwrites nothing else" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "one" / "report.html").exists()


def test_several_runs_are_compared_where_they_are_told(tmp_path, capsys):
    runs = [write_run(tmp_path / where / "run-0") for where in ("a", "b")]
    assert main(["report", *map(str, runs)]) == 2
    assert "say where the page goes, such as --out comparison.html" in capsys.readouterr().err
    record = read_several([*runs, tmp_path / "a"])
    assert [run.name for run in record.runs] == ["a/run-0", "b/run-0"]


def test_a_run_that_cannot_be_read_does_not_cost_the_page(grid):
    (grid / "a" / "lawm-10pct-0" / "way-out").symlink_to(grid.parent)
    record = read_folder(grid)
    assert [run.name for run in record.runs] == ["a/lawm-10pct-1", "a/oracle-100pct-0"]
    assert len(record.damaged) == 1
    assert "leads out of the run folder" in record.damaged[0]


def test_runs_that_differ_in_the_seed_alone_are_one_group(grid):
    names = {name: len(runs) for name, runs in grouped(read_folder(grid).runs).items()}
    assert names == {"a/lawm-10pct": 2, "a/oracle-100pct": 1}


def test_a_sweep_whose_names_end_in_numbers_is_not_taken_for_seeds(grid):
    one, other, _ = read_folder(grid).runs
    seeds = replace(other, config=one.config | {"seed": 7, "data": {"label_seed": 7}})
    seeds.config["data"] |= one.config["data"] | {"label_seed": 7}
    assert list(grouped([one, seeds])) == ["a/lawm-10pct"]
    policy = {"horizon": 99}
    sweep = replace(other, config=one.config | {"policy": policy})
    assert list(grouped([one, sweep])) == ["a/lawm-10pct-0", "a/lawm-10pct-1"]
    shards = replace(other, config=one.config | {"data": {"shards": ["more.h5"]}})
    assert list(grouped([one, shards])) == ["a/lawm-10pct-0", "a/lawm-10pct-1"]
    third = replace(seeds, name="a/lawm-10pct-2")
    names = {name: len(runs) for name, runs in grouped([one, sweep, third]).items()}
    assert names == {"a/lawm-10pct-0": 2, "a/lawm-10pct-1": 1}


def test_runs_that_were_not_named_are_told_apart_by_their_settings_alone(grid):
    one, other, _ = read_folder(grid).runs
    dates = ["2026-11-30_12-00-59", "2026-11-30_12-01-00"]
    for folder, expected in (("", "runs"), ("a/", "a")):
        runs = [replace(one, name=folder + dates[0]), replace(other, name=folder + dates[1])]
        runs[1] = replace(runs[1], config=one.config | {"seed": 1})
        assert list(grouped(runs)) == [expected]


def test_the_mean_curve_stands_where_all_curves_have_points():
    one = Curve(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    other = Curve(np.array([2.0, 3.0, 4.0]), np.array([4.0, 7.0, 9.0]))
    mean = mean_of([one, other])
    assert (mean.steps.tolist(), mean.values.tolist()) == ([2.0, 3.0], [3.0, 5.0])
