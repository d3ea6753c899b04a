"""`lawm bench labels` from the command line; its runs are stood in for but in the slow test."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from grid_factory import row, write_report
from PIL import Image

from lawm.benchmarks import label_efficiency_plot
from lawm.benchmarks.grid_rows import read_rows, write_rows
from lawm.benchmarks.label_grid import METHODS
from lawm.cli import label_bench_command, label_bench_plan, main
from lawm.cli.fit_parser import parse_fit
from lawm.cli.label_bench_arguments import add_label_bench_parser
from lawm.cli.label_bench_plan import read_grid

INPUT = "world_model.model.transition_input"
CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def here(tmp_path, tiny_data, monkeypatch):
    """A working folder with a task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    (tmp_path / "conf").symlink_to(CONF)
    Path("line.yaml").write_text(
        yaml.safe_dump(
            {
                "data": {"shards": [str(tiny_data)], "held_out": "2 episodes"},
                "trainer": {"accelerator": "cpu"},
            }
        )
    )
    return tmp_path


_parsed = {}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is parsed once is not parsed again: the tests' task is always the same."""

    def parse(words):
        key = tuple(words)
        if key not in _parsed:
            _parsed[key] = parse_fit(words)
        return _parsed[key]

    monkeypatch.setattr(label_bench_plan, "parse_fit", parse)


@pytest.fixture
def undrawn(monkeypatch):
    """Plots have tests of their own."""
    monkeypatch.setattr(label_efficiency_plot, "save", lambda result, stem: [])


class Finished:
    """A run that has ended."""

    def __init__(self, code=0):
        self.code = code

    def poll(self):
        return self.code

    def terminate(self):
        pass

    kill = terminate


@pytest.fixture
def launched(monkeypatch):
    """Runs that end at once, and the names of those begun; ``fails`` says which end badly."""
    names, fails = [], set()

    def launcher(folder, world_models):
        def launch(run, slot):
            names.append(run.name)
            folder.run(run).path.mkdir(parents=True, exist_ok=True)
            if run.name in fails:
                folder.log(run).write_text("lawm: error: it broke.\n")
                return Finished(2)
            write_report(folder.run(run).path, final=400.0 if run.method == "oracle" else 300.0)
            return Finished()

        return launch

    monkeypatch.setattr(label_bench_command, "launcher", launcher)
    return names, fails


def bench(*more, methods="oracle,lawm", task=True):
    config = ["--config", "line.yaml"] if task else []
    words = [*config, "--methods", methods, "--fractions", "50%", "--seeds", "0,1", "--out", "grid"]
    return main(["bench", "labels", *words, *more])


@pytest.mark.usefixtures("here", "undrawn")
def test_a_failed_run_is_named_and_tried_again_and_changes_nothing_else(launched, capsys):
    names, fails = launched
    fails.add("lawm-50pct-0")
    assert bench() == 1
    assert names == ["oracle-all-0", "lawm-50pct-0", "oracle-all-1", "lawm-50pct-1"]
    output = capsys.readouterr().out
    assert "line/lawm-50pct-0 failed: it broke. (log: grid/line/lawm-50pct-0.log)" in output
    assert "1 run failed; the same command tries it again." in output
    assert len(read_rows(Path("grid/label_efficiency.csv"))) == 3
    assert json.loads(Path("grid/line/lawm-50pct-0.json").read_text())["error"] == "it broke."

    names.clear()
    fails.clear()
    assert bench() == 0
    assert names == ["lawm-50pct-0"]
    rows = read_rows(Path("grid/label_efficiency.csv"), all_columns=True)
    assert [(r.method, r.seed, r.return_final) for r in rows] == [
        ("oracle", 0, 400.0),
        ("oracle", 1, 400.0),
        ("lawm", 0, 300.0),
        ("lawm", 1, 300.0),
    ]
    assert len({r.config_hash for r in rows}) == 2, "seeds of a cell share it"
    assert rows[2].command.startswith("lawm fit --config line.yaml --seed 0")
    assert {r.data for r in rows} == {"tiny"}
    assert "0.75 [0.75, 0.75]" in Path("grid/label_efficiency.md").read_text()

    assert bench("--set", "policy.horizon=5") == 2
    assert "belongs to another plan" in capsys.readouterr().err
    assert bench("--set", "policy.horizon=5", "--dry-run") == 0
    assert "4 run(s) were made with other settings" in capsys.readouterr().out
    names.clear()
    assert bench("--set", "policy.horizon=5", "--rerun-stale") == 0
    assert len(names) == 4
    assert Path("grid/line/oracle-all-0.stale-1/report.json").is_file()


@pytest.mark.usefixtures("here", "undrawn")
def test_rows_of_another_grid_in_the_same_file_stay(launched, monkeypatch):
    file = Path("rows.csv")
    write_rows(file, [row()])
    real = label_bench_command.run_grid

    def run_grid(*args):
        write_rows(file, [*read_rows(file), row("bc")])  # another grid ends a run meanwhile
        real(*args)

    monkeypatch.setattr(label_bench_command, "run_grid", run_grid)
    assert bench("--csv", "rows.csv", methods="lawm") == 0
    rows = read_rows(file)
    assert {(r.task, r.method) for r in rows} == {
        ("cheetah", "lawm"),
        ("cheetah", "bc"),
        ("line", "lawm"),
    }
    assert len(rows) == 4
    assert "cheetah" not in Path("grid/label_efficiency.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_dry_run_writes_nothing(capsys):
    assert bench("--dry-run") == 0
    assert not Path("grid").exists()
    output = capsys.readouterr().out
    assert "4 runs, 4 to do, 2 at a time" in output
    assert "Hours are not known" in output


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "lawm,magic"], "--methods has 'magic'; expected some of oracle, lawm"),
        (["--fractions", "0%"], "--fractions has '0%'"),
        (["--fractions", "2%,120%"], "--fractions has '120%'"),
        (["--fractions", "12"], "--fractions has '12'"),
        (["--seeds", "0,-1"], "--seeds has '-1'"),
        (["--seeds", ","], "--seeds is empty"),
        (["--set", "policy.horizon"], "expected KEY=VALUE"),
        (["--set", "data.labels=5%"], "data.labels is set for each run, by --fractions"),
        (["--set", "data.label-seed=5"], "data.label_seed is set for each run, by --seeds"),
        (["--set", "policy.horzion=3"], "not a setting of lawm. Did you mean `policy.horizon`"),
        (["--config", "nowhere.yaml"], "configuration nowhere.yaml does not exist"),
        (["--config", "conf/oracle.yaml"], "is the preset of a method"),
        (["--config", "./line.yaml"], "two tasks line"),
        (["--preset", "nowhere.yaml"], "configuration nowhere.yaml does not exist"),
        (["--jobs", "none"], "--jobs is none; expected a number from 1, or auto"),
        (["--jobs", "3"], "no free core"),
        (["--threads", "3"], "--threads is 3, but this process may use 2 core(s)"),
        (["--csv", "line.yaml"], "lacks the columns task"),
        (["--out", "conf"], "holds no grid"),
        (["--from", "rows.csv"], "--config means nothing beside it"),
        (["--world-models-from", "no"], "--world-models-from no is no folder"),
    ],
)
def test_mistakes_cost_a_sentence(words, sentence, capsys, launched):
    assert bench(*words, methods="lawm") == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert launched[0] == []


@pytest.mark.usefixtures("here")
def test_what_is_set_for_all_runs_leaves_every_method_what_it_is(tmp_path):
    """Else a baseline would be lawm under another name, and the oracle's returns another's."""
    Path("all.yaml").write_text("data: {labels: 12 episodes, labelled_ratio: 0.3}\n")
    parser = argparse.ArgumentParser()
    add_label_bench_parser(parser.add_subparsers())
    words = ["labels", "--config", "line.yaml", "--seeds", "0", "--fractions", "50%", "--out=x"]
    runs = [
        {run.method: run for run in read_grid(parser.parse_args([*words, *more])).runs}
        for more in (
            [],
            ["--preset", "all.yaml"],
            [f"--set={key}" for key in ("data.labelled_ratio=0.3", f"{INPUT}=latent")],
        )
    ]
    for others in runs[1:]:
        assert others["bc"].config_hash == runs[0]["bc"].config_hash
        for method in ("oracle", "labelled_only", "masked_action"):
            config = parse_fit(others[method].arguments()).config
            plain = parse_fit(runs[0][method].arguments()).config
            if method == "labelled_only":
                assert config.data["labelled_ratio"] == 1.0
            if method == "masked_action":
                assert config.world_model["model"].transition_input == "masked_action"
            assert config.data["labels"] == plain.data["labels"]
        assert len({run.config_hash for run in others.values()}) == len(METHODS)
    assert not runs[0]["bc"].definition and runs[2]["bc"].definition


@pytest.mark.usefixtures("here")
def test_a_method_without_a_preset_names_the_places(capsys):
    Path("conf").unlink()
    assert bench() == 2
    assert "there is no oracle.yaml nor conf/oracle.yaml" in capsys.readouterr().err


def test_no_task_and_no_rows(tmp_path, capsys):
    assert main(["bench", "labels", "--out", str(tmp_path)]) == 2
    assert "give the configuration of each" in capsys.readouterr().err


def test_rows_of_several_files_make_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(label_efficiency_plot, "DPI", 40)
    write_rows(Path("a.csv"), [row("oracle", 400.0), row("lawm", 300.0)])
    write_rows(Path("b.csv"), [row("lawm", 300.0), row("lawm", 320.0, seed=1)])
    assert main(["bench", "labels", "--from", "a.csv", "b.csv", "--out", "figure"]) == 0
    assert sorted(file.name for file in Path("figure").iterdir()) == [
        f"label_efficiency.{ending}" for ending in ("md", "png", "svg")
    ]
    assert "| lawm | 10% | 7,500 | 2 |" in Path("figure/label_efficiency.md").read_text()
    with Image.open("figure/label_efficiency.png") as picture:
        assert picture.width > 200
    assert main(["bench", "labels", "--from", "b.csv", "a.csv", "--out", "again"]) == 0
    for file in Path("figure").iterdir():
        assert file.read_bytes() == Path("again", file.name).read_bytes(), "same rows, same file"

    write_rows(Path("b.csv"), [row("lawm", 301.0)])
    assert main(["bench", "labels", "--from", "a.csv", "b.csv", "--out", "figure"]) == 2
    assert "a.csv and b.csv tell different things of one run" in capsys.readouterr().err
    write_rows(Path("b.csv"), [row("lawm", None)])
    assert main(["bench", "labels", "--from", "b.csv", "--out", "none"]) == 0
    assert "nothing to put into a table" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_committed_rows_are_readable(tmp_path):
    results = CONF.parent / "results"
    files = sorted(f for f in results.rglob("*.csv") if f.name != "action_effects.csv")
    assert files
    for file in files:
        assert main(["bench", "labels", "--from", str(file), "--out", str(tmp_path)]) == 0


@pytest.mark.slow
def test_a_grid_that_is_killed_twice_ends_with_all_its_rows(
    tmp_path, tiny_data, monkeypatch, capsys
):
    """SIGKILL to the grid alone, then SIGTERM, each while a run trains."""
    (tmp_path / "conf").symlink_to(CONF)
    task = {
        "data": {"shards": [str(tiny_data)], "held_out": "2 episodes"},
        "evaluation": {"env_id": "none"},
        "trainer": {"accelerator": "cpu"},
    }
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(task))
    options = ["--methods", "oracle,lawm", "--fractions", "50%", "--seeds", "0,1", "--jobs", "1"]
    options += ["--preset", "conf/debug.yaml", "--set", "stages.world_model.max_steps=300"]
    words = ["bench", "labels", "--config", "line.yaml", *options, "--out", "grid"]
    command = [sys.executable, "-m", "lawm", *words]
    grid = tmp_path / "grid"
    for name, signum, code in (
        ("oracle-all-0", signal.SIGKILL, -signal.SIGKILL),
        ("lawm-50pct-0", signal.SIGTERM, 75),
    ):
        process = subprocess.Popen(command, cwd=tmp_path)
        deadline = time.monotonic() + 900
        while not (grid / "line" / name / "world_model" / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (grid / "line" / name / "report.json").is_file()
        process.send_signal(signum)
        assert process.wait() == code
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(grid / "label_efficiency.csv", all_columns=True)
    assert len(rows) == 4
    assert all(r.return_final is None and r.hours and r.labelled_episodes for r in rows)
    for name in ("oracle-all-0", "lawm-50pct-0"):
        log = (grid / "line" / f"{name}.log").read_text()
        assert "stopped by SIGTERM" in log, "the run saved although its grid was killed"
        assert log.count("Run folder:") == 2
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert "4 runs, 0 to do" in capsys.readouterr().out
