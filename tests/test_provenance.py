from __future__ import annotations

import json
import math
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import lawm
from lawm.provenance import record_start, source_commit, this_process


def test_a_start_tells_what_it_takes_to_repeat_it():
    start = this_process(["fit", "--config", "a b.yaml"])
    assert shlex.split(start["command"]) == ["lawm", "fit", "--config", "a b.yaml"]
    assert start["working_folder"] == str(Path.cwd())
    assert start["lawm"] == lawm.__version__
    assert start["packages"]["torch"] == torch.__version__
    assert start["threads"] == torch.get_num_threads()
    assert json.loads(json.dumps(start, allow_nan=False)) == start


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert head.startswith(source_commit().removesuffix("-dirty"))
    assert source_commit()


def test_a_package_that_a_checkout_does_not_track_has_no_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(lawm, "__file__", str(tmp_path / "lawm" / "__init__.py"))
    assert source_commit() == ""


def test_a_resume_adds_a_start(tmp_path):
    file = tmp_path / "provenance.json"
    record_start(file, {"command": "first"}, {"shards": 1, "return mean": math.nan})
    record_start(file, {"command": "second"}, {"shards": 2, "return mean": 3.5})
    assert json.loads(file.read_text()) == {
        "starts": [{"command": "first"}, {"command": "second"}],
        "data": {"shards": 2, "return mean": 3.5},
    }


@pytest.mark.parametrize("text", ["", "[]", '{"starts": 7}', "[" * 100_000])
def test_a_damaged_record_stops_no_training(text, tmp_path):
    file = tmp_path / "provenance.json"
    file.write_text(text)
    record_start(file, {"command": "again"}, {})
    assert json.loads(file.read_text())["starts"] == [{"command": "again"}]
