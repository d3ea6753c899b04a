from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from page_checks import EVALUATION, check_page, write_run

from lawm.cli import main
from lawm.html_report.pictures import TOTAL_BYTES, VIDEO_BYTES
from lawm.html_report.run_page import run_page
from lawm.video import write_video

SCRIPT = "<script>alert('lawm')</script>"
NAME = SCRIPT.replace("/", "")  # a file's


def test_the_page_of_a_trained_run_has_all_of_it(finished_run, capsys):
    assert main(["report", str(finished_run)]) == 0
    out = finished_run / "report.html"
    assert f"Report: {out}" in capsys.readouterr().out
    html = out.read_text()
    page = check_page(html)
    assert len(html) < 20e6
    start = json.loads((finished_run / "provenance.json").read_text())["starts"][0]
    panel = json.loads((finished_run / "world_model" / "panel.json").read_text())
    for expected in (
        "finished",
        panel["verdict"],
        panel["reason"],
        "at least 1.15",
        "at least 0.6",
        "at least 0.4",
        "Return in the environment.",
        "Imagined value and true return.",
        "Losses of the world model.",
        "open_loop, step 20",
        "transitions a second",
        "labelled episodes",
        "held-out episodes",
        "None: every loss was finite",
        start["command"],
        start["commit"],
        start["packages"]["torch"],
        f"lawm fit --config {finished_run}/config.yaml --run_dir NEW_FOLDER",
        "labelled_ratio: 0.25",  # of config.yaml
        "updates of the policy",  # an axis
        "nats a step",
    ):
        assert expected in page.text, expected
    assert "Missing on this page" not in page.text
    assert "Damaged" not in page.text
    assert page.tags["svg"] >= 8
    (picture,) = [v for t, n, v in page.attributes if (t, n) == ("img", "src")]
    assert picture.startswith("data:image/png;base64,")
    assert main(["report", str(finished_run)]) == 0  # its own page it may replace


def test_nothing_from_the_files_gets_into_the_page_unescaped(tmp_path):
    run = write_run(tmp_path / f"{NAME} $x^{{", env_id=SCRIPT)
    (run / "config.yaml").write_text(f"name: x\ndata:\n  shards: '</pre>{SCRIPT}'\n# {SCRIPT}\n")
    with (run / "evaluation.csv").open("a") as file:
        file.write(f'30,0,,,,,,,1.0,"bang {SCRIPT}"\n')
    (run / "world_model" / "panel.json").write_text(
        json.dumps({"verdict": SCRIPT, "reason": SCRIPT, SCRIPT: SCRIPT, "rate_inverse": [1.0]})
    )
    header = 'step,"<img src=x onerror=alert(1)> $\\frac{"\n'
    (run / "policy" / "metrics.csv").write_text(header + "1,2.0\n2,3.0\n")
    start = {"command": f"lawm '{SCRIPT}'", "machine": {"host": SCRIPT}, "commit": SCRIPT}
    (run / "provenance.json").write_text(
        json.dumps({"starts": [start], "data": {SCRIPT: SCRIPT, "environment": SCRIPT}})
    )
    (run / f"a\"onload='x'{NAME}.gif").write_text(SCRIPT)
    page = check_page(run_page(run))
    assert "alert" not in page.scripts[0]
    assert page.text.count(SCRIPT) >= 8
    assert "<img src=x onerror=alert(1)> $\\frac{" in page.text
    assert "bang" in page.text


def test_what_is_missing_is_named(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: x\n")
    page = check_page(run_page(run))
    for expected in (
        "not started",
        "world_model/metrics.csv: no number of the world model was logged yet.",
        "world_model/panel.json: the latent-action panel comes with the first validation",
        "evaluation.csv: the policy was not measured in an environment yet.",
        "provenance.json: command, versions and commit are unknown",
        "tensorboard/: no event file, so no pictures.",
        "No panel was measured.",
        f"lawm fit --resume {run}",
    ):
        assert expected in page.text, expected


def test_a_method_without_a_world_model_lacks_no_panel(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: x\nmethod: behaviour_cloning\n")
    text = check_page(run_page(run)).text
    assert "None: this method has no world model." in text
    assert "world_model/" not in text


def test_failed_evaluations_and_faults_are_told(tmp_path):
    run = write_run(tmp_path / "run", is_done=False)
    row = '7,0,,,,,,,1.0,"the simulator\nsaid\tno"\r\n'
    (run / "evaluation.csv").write_text(EVALUATION + row)
    (run / "faults").mkdir()
    (run / "faults" / "policy-step-3-rank-0.npz").write_bytes(b"")
    text = check_page(run_page(run)).text
    assert "1 of 1 evaluations failed" in text
    assert "Evaluation at update 7 failed: the simulator said no" in text
    assert f"lawm replay {run}/faults/policy-step-3-rank-0.npz" in text
    assert "A loss or gradient was not finite, see Faults below." in text


def test_videos_are_embedded_as_far_as_they_fit(tmp_path):
    run = write_run(tmp_path / "run", returns=())
    shutil.rmtree(run / "world_model")
    (run / "policy" / "metrics.csv").unlink()
    write_video(np.zeros((3, 8, 8, 3), np.uint8), run / "videos" / "best.gif", 10)
    mp4 = b"\0\0\0\x18ftypisom"
    (run / "small.mp4").write_bytes(mp4 + bytes(100))
    for name in ("first", "second", "third"):
        with (run / f"{name}.mp4").open("wb") as file:
            file.write(mp4)
            file.truncate(VIDEO_BYTES - 1000)
    with (run / "long.mp4").open("wb") as file:
        file.write(mp4)
        file.truncate(VIDEO_BYTES + 1)
    (run / "page.mp4").write_text("<html>")
    html = run_page(run)
    page = check_page(html)
    assert len(html) < 4 / 3 * TOTAL_BYTES + 1e6 < 20e6
    videos = [v for t, n, v in page.attributes if (t, n) == ("video", "src")]
    assert sorted(len(v) < 1000 for v in videos) == [False, False, True]
    assert any(v.startswith("data:image/gif") for v in page.values("src"))
    long = f"{run}/long.mp4, 6.0 MB: left out, as it is larger than 6.0 MB. Open it from there."
    assert long in page.text
    assert f"{run}/page.mp4, 6 bytes: left out, as it is no video or GIF." in page.text
    assert page.text.count("left out, as the page is full") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: (run / "report.html").write_text("my notes"), "not a page that `lawm report`"),
        (lambda run: (run / "report.html").mkdir(), "is a folder; expected a file"),
    ],
)
def test_nothing_else_is_overwritten(make, message, tmp_path, capsys):
    run = write_run(tmp_path / "run")
    make(run)
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    page = run / "report.html"
    assert page.is_dir() or page.read_text() == "my notes"


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_what_is_no_run_is_refused(name, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert "Expected" in error or "expected" in error
    assert error.count("\n") == 1


def test_a_link_that_leads_out_is_refused(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    Path(run / "film.gif").symlink_to("/etc/passwd")
    assert main(["report", str(run)]) == 2
    assert "leads out of the run folder" in capsys.readouterr().err
    assert not (run / "report.html").exists()
