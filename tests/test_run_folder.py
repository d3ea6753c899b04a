from __future__ import annotations

from pathlib import Path

import pytest

from lawm.errors import LawmError
from lawm.run_folder import (
    RunFolder,
    StageRecord,
    create_run_folder,
    open_run_folder,
)


def test_a_new_folder_holds_the_config(tmp_path):
    folder = create_run_folder(tmp_path / "a" / "b", "seed: 1\n")
    assert folder.config_file.read_text() == "seed: 1\n"
    assert open_run_folder(tmp_path / "a" / "b") == folder


def test_an_empty_folder_may_be_used(tmp_path):
    assert create_run_folder(tmp_path, "seed: 1\n").path == tmp_path


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine")
    with pytest.raises(LawmError, match="is a file; expected a new folder"):
        create_run_folder(path, "")
    assert path.read_text() == "mine"


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LawmError, match="cannot be written"):
        create_run_folder(tmp_path / "file" / "run", "")


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(LawmError, match="does not exist; expected the folder of a `lawm fit`"):
        open_run_folder(tmp_path / "nowhere")


def test_a_stage_record_survives_the_disk(tmp_path):
    stage = RunFolder(tmp_path).stage("policy")
    record = StageRecord("abc", 7, 1.5, {"loss": 0.25}, {"final": {"mean": 3.0}})
    assert stage.read_done() is None
    stage.write_done(record)
    assert stage.read_done() == record


@pytest.mark.parametrize("text", ["", "not json", '{"other": 1}', "[]"])
def test_a_damaged_marker_is_refused(text, tmp_path):
    stage = RunFolder(tmp_path).stage("policy")
    stage.path.mkdir()
    stage.done_marker.write_text(text)
    with pytest.raises(LawmError, match=r"DONE is damaged"):
        stage.read_done()


def test_traces_of_a_start_that_was_killed_do_not_stand_in_the_way(tmp_path):
    for name in (".lock", ".config.yaml.tmp-123"):
        (tmp_path / name).write_text("")
    folder = create_run_folder(tmp_path, "seed: 1\n")
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "config.yaml"]


@pytest.mark.parametrize("inside", ["policy/checkpoints", "metrics.csv", "tensorboard/deep"])
def test_links_that_lead_out_of_a_run_are_refused(inside, tmp_path):
    run, link = tmp_path / "run", tmp_path / "run" / inside
    link.parent.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    link.symlink_to("../" * len(Path(inside).parts) + "outside")
    with pytest.raises(LawmError, match=f"{inside} is a link that leads out of the run folder"):
        open_run_folder(run)


def test_links_inside_of_a_run_and_to_a_run_are_fine(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("{}")
    (run / "again.yaml").symlink_to("config.yaml")
    (run / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to(run)
    assert open_run_folder(tmp_path / "link").config_file.is_file()
