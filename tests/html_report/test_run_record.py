from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys

import pytest
from page_checks import EVALUATION, write_run

from lawm.callbacks.offline_selection import IMAGINED_REWARD
from lawm.html_report.pictures import data_uri, newest_pictures
from lawm.html_report.run_files import FileReader, number, numbers
from lawm.html_report.run_page import commands
from lawm.html_report.run_record import read_run

DEEP = "[" * 100_000


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = read_run(write_run(tmp_path / "task" / "lawm-10pct-0"))
    assert run.name == "task/lawm-10pct-0"
    assert (run.status.word, run.missing) == (
        "finished",
        [
            "report.json: it is written when the run ends.",
            "tensorboard/: no event file, so no pictures.",
        ],
    )
    assert [row.step for row in run.evaluations] == [5, 10, 15]
    assert run.best is not None and (run.best.step, run.best.mean) == (10, 300.0)
    assert run.final is not None and run.final.returns == (190.0, 210.0)
    assert (run.data_mean, run.data_best, run.environment) == (50.0, 250.0, "tiny/line")
    assert run.seconds == 3600.0
    assert run.action_r2 == 0.8
    curve = run.stages["policy"].curves["policy/loss"]
    assert (curve.steps.tolist(), curve.values.tolist()) == ([10.0, 20.0], [2.5, 1.5])


def test_the_environment_is_the_one_that_was_measured_in(tmp_path):
    path = write_run(tmp_path / "run")
    config = path / "config.yaml"
    config.write_text(config.read_text() + "evaluation:\n  env_id: tiny/other\n")
    assert read_run(path).environment == "tiny/other"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("lawm fit --config c.yaml --allow-import my.tasks", " --allow-import my.tasks"),
        ("lawm fit --allow-import=a --allow_import b", " --allow-import a --allow-import b"),
        ("lawm fit --run_dir 'a --allow-import b'", ""),
        ("lawm fit --run_dir 'no end", ""),
        ("lawm fit --allow-import", ""),
        (7, ""),
    ],
)
def test_a_command_that_goes_on_allows_the_same_modules(tmp_path, command, options):
    path = write_run(tmp_path / "a run", is_done=False)
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["starts"].append({"command": command})
    (path / "provenance.json").write_text(json.dumps(provenance))
    run = read_run(path)
    resume = f"lawm fit --resume '{path}'{options}"
    assert run.status.sentence.endswith(f"Continue with `{resume}`.")
    assert ("Go on with it", resume) in commands(run)


def test_the_policy_selected_offline_is_that_of_the_highest_imagined_reward(tmp_path):
    path = write_run(tmp_path / "run")
    assert read_run(path).selected is None
    metrics = path / "policy" / "metrics.csv"
    header, *rows = metrics.read_text().splitlines()
    rows = [f"{row}," for row in rows] + [
        f"{step}{',' * header.count(',')},{reward}" for step, reward in ((5, 2.0), (10, 1.0))
    ]
    metrics.write_text("\n".join([f"{header},{IMAGINED_REWARD}", *rows]) + "\n")
    selected = read_run(path).selected
    assert selected is not None and selected.step == 5


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("change", "word", "sentence"),
    [
        (lambda run: None, "unfinished", "stage 1, world model, update 20 of 20."),
        (
            lambda run: (run / "world_model" / "DONE").write_text('{"global_step": 20}'),
            "unfinished",
            "stage 2, policy, update 20 of 10.",
        ),
        (lambda run: lock(run, os.getpid()), "running", "Process {pid} on"),
        (lambda run: lock(run, dead_process()), "unfinished", "It was killed: its process is gone"),
        (lambda run: lock(run, 1, "another"), "running", "and has not signed off"),
        (lambda run: lock(run, "1"), "running", "and has not signed off"),
        (lambda run: (run / "faults" / "x.npz").write_bytes(b""), "failed", "was not finite"),
        (lambda run: finish_stage_1(run), "stage 1 finished", "no policy was asked for"),
    ],
)
def test_the_state_is_told(change, word, sentence, tmp_path):
    path = write_run(tmp_path / "run", is_done=False)
    (path / "faults").mkdir()
    change(path)
    status = read_run(path).status
    assert status.word == word
    assert sentence.format(pid=os.getpid()) in status.sentence
    assert status.is_whole == (word == "stage 1 finished")


def lock(run, pid, host=None):
    owner = {"host": host or socket.gethostname(), "pid": pid, "since": "2026-01-01"}
    (run / ".lock").write_text(json.dumps(owner))


def finish_stage_1(run):
    (run / "world_model" / "DONE").write_text('{"global_step": 20}')
    (run / "report.json").write_text('{"stages": {"world_model": {}}}')


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("report.json", "{", "it is not JSON"),
        ("report.json", DEEP, "it is not JSON"),
        ("provenance.json", "[]", "it holds list, expected an object"),
        ("world_model/panel.json", "7", "it holds int, expected an object"),
        ("policy/DONE", b"\xff\xfe", "it is not UTF-8 text"),
        ("config.yaml", "a: [", "is not valid YAML"),
        ("config.yaml", "- 1", "it holds list, expected settings"),
        ("policy/metrics.csv", "step,loss\n1,cat\n2,1.0\n", "1 of its cells are no numbers"),
        ("policy/metrics.csv", f'step,loss\n1,"{"x" * 140_000}"\n', "it is not CSV after 0 rows"),
        ("evaluation.csv", EVALUATION + "x,0,1.0,,,,,,,\n", "has a row without a step"),
        ("tensorboard/events.out.x", b"garbage" * 9, ""),
    ],
)
def test_a_damaged_file_costs_a_sentence(file, content, reason, tmp_path):
    path = write_run(tmp_path / "run")
    place = path / file
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    run = read_run(path)
    newest_pictures(FileReader(path, run.damaged), path / "tensorboard")
    assert all(file in sentence for sentence in run.damaged)
    assert len(run.damaged) == (1 if reason else 0)
    assert reason in "".join(run.damaged)


@pytest.mark.parametrize("content", [{"starts": 7, "data": []}, {"starts": [1, {}]}, {}])
def test_values_of_other_kinds_are_left_out(content, tmp_path):
    path = write_run(tmp_path / "run")
    (path / "provenance.json").write_text(json.dumps(content))
    (path / "world_model" / "panel.json").write_text('{"rate_inverse": "x", "verdict": [1]}')
    (path / "policy" / "DONE").write_text('{"global_step": "ten", "metrics": [], "seconds": true}')
    run = read_run(path)
    assert run.environment == ""
    assert run.data_mean is None
    assert run.seconds == 1800.0


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ("", ["world_model", "policy"]),
        ("pseudo_labels: true\n", ["inverse_dynamics", "world_model", "policy"]),
        ("method: behaviour_cloning\n", ["policy"]),
    ],
)
def test_a_run_has_the_stages_of_its_method(settings, stages, tmp_path):
    path = write_run(tmp_path / "run")
    config = path / "config.yaml"
    config.write_text(config.read_text() + settings)
    run = read_run(path)
    assert list(run.stages) == stages
    labels_first = "inverse_dynamics" in stages
    assert run.status.word == ("unfinished" if labels_first else "finished")
    assert ("stage 1, inverse dynamics" in run.status.sentence) == labels_first
    assert (run.action_r2 is None) == ("world_model" not in stages)


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    path = write_run(tmp_path / "run")
    file = path / "policy" / "metrics.csv"
    file.write_text(file.read_text() + "30,0.1")
    run = read_run(path)
    assert run.stages["policy"].curves["policy/loss"].steps.tolist() == [10.0, 20.0]
    assert run.damaged == []


def test_a_gap_in_a_curve_is_no_damage(tmp_path):
    path = write_run(tmp_path / "run")
    (path / "policy" / "metrics.csv").write_text("step,a,b\n1,nan,1\n2,-inf,\n3,4.0,5\n")
    run = read_run(path)
    assert run.stages["policy"].curves["a"].steps.tolist() == [3.0]
    assert run.stages["policy"].curves["b"].steps.tolist() == [1.0, 3.0]
    assert run.damaged == []


def test_a_pipe_is_not_waited_for(tmp_path):
    path = write_run(tmp_path / "run")
    (path / "policy" / "metrics.csv").unlink()
    os.mkfifo(path / "policy" / "metrics.csv")
    assert read_run(path).stages["policy"].curves == {}


@pytest.mark.parametrize("value", [math.nan, "inf", 10**400, True, None, [1], "x", 1e300, {}])
def test_what_cannot_be_drawn_is_no_number(value):
    assert number(value) is None
    assert numbers([value, 2]) == [2.0]
    assert numbers(value) == ([1.0] if value == [1] else [])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"....ftypisom", "video/mp4"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b'<?xml version="1.0"?><svg>', "image/svg+xml"),
        (b"<html><svg>", None),
        (b"", None),
    ],
)
def test_only_pictures_and_videos_get_an_address(content, kind):
    address = data_uri(content)
    assert address is None if kind is None else address.startswith(f"data:{kind};base64,")
