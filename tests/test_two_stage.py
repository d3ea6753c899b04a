from __future__ import annotations

import csv
import json
import shutil
import signal

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import tiny_fit

from lawm.checkpoint_file import read_checkpoint
from lawm.cli import main
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder
from lawm.world_model_module import WorldModelModule


def weights(run, stage):
    return read_checkpoint(RunFolder(run).stage(stage).last_checkpoint)["state_dict"]


def assert_equal_weights(run, other, stage):
    there, here = weights(run, stage), weights(other, stage)
    assert there.keys() == here.keys()
    different = [key for key in there if not torch.equal(there[key], here[key])]
    assert not different


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scalar_steps(run, tag):
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return [event.step for event in events.Scalars(tag)]


def test_one_command_makes_the_whole_run_folder(finished_run):
    names = {
        str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()
    }
    events = {name for name in names if name.startswith("tensorboard/events")}
    assert names - events == {
        ".lock",
        "config.yaml",
        "evaluation.csv",
        "provenance.json",
        "report.json",
        "world_model/DONE",
        "world_model/metrics.csv",
        "world_model/panel.json",
        "world_model/checkpoints/last.ckpt",
        "world_model/checkpoints/previous.ckpt",
        "policy/DONE",
        "policy/metrics.csv",
        "policy/checkpoints/last.ckpt",
        "policy/checkpoints/previous.ckpt",
        "policy/checkpoints/best.ckpt",
        "policy/checkpoints/selected.ckpt",
    }
    assert len(events) == 2
    report = json.loads((finished_run / "report.json").read_text())
    assert report["evaluation"]["final"]["step"] == 10
    selection = report["evaluation"]["selection"]
    assert report["evaluation"]["selected"]["step"] == selection["step"]
    assert report["stages"]["world_model"]["steps"] == 20
    assert "held_out/action_r2_inverse" in report["stages"]["world_model"]["metrics"]
    assert report["data"]["labelled episodes"] == 5


def test_both_stages_lie_on_one_time_axis(finished_run):
    assert scalar_steps(finished_run, "world_model/loss") == [5, 10, 15, 20]
    assert scalar_steps(finished_run, "policy/loss") == [25, 30]
    assert scalar_steps(finished_run, "evaluation/return_mean") == [25, 30]


def test_metrics_tables_count_updates(finished_run):
    steps = [int(row["step"]) for row in rows(finished_run / "world_model/metrics.csv")]
    assert steps == [5, 10, 15, 20]
    steps = [int(row["step"]) for row in rows(finished_run / "policy/metrics.csv")]
    assert steps == [5, 10]


def test_a_crash_leaves_the_regular_checkpoint(finished_run, tiny_data, tmp_path, monkeypatch):
    def crash(self, batch, batch_idx):
        if self.global_step == 13:
            raise RuntimeError("out of luck")
        return original(self, batch, batch_idx)

    original = WorldModelModule.training_step
    run = tmp_path / "crashed"
    with monkeypatch.context() as patch:
        patch.setattr(WorldModelModule, "training_step", crash)
        with pytest.raises(RuntimeError, match="out of luck"):
            tiny_fit(tiny_data, run)
    last = read_checkpoint(RunFolder(run).stage("world_model").last_checkpoint)
    assert last["global_step"] == 10
    assert main(["fit", "--resume", str(run)]) == 0
    assert_equal_weights(run, finished_run, "policy")


def test_stages_one_by_one_equal_both_at_once(finished_run, tiny_data, tmp_path):
    run = tmp_path / "apart"
    assert tiny_fit(tiny_data, run, "--stage", "world_model") == 0
    assert not (run / "policy").exists()
    assert main(["fit", "--resume", str(run), "--stage", "policy"]) == 0
    assert_equal_weights(run, finished_run, "policy")


def test_stage_1_of_another_run_is_reused(finished_run, tiny_data, tmp_path, monkeypatch):
    def train_again(self, batch, batch_idx):
        raise AssertionError("stage 1 was trained again")

    monkeypatch.setattr(WorldModelModule, "training_step", train_again)
    run = tmp_path / "reused"
    arguments = ("--world_model_from", str(finished_run), "--policy.horizon", "2")
    assert tiny_fit(tiny_data, run, *arguments) == 0
    assert_equal_weights(run, finished_run, "world_model")
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0  # complete by itself


def test_a_checkpoint_file_names_the_stage_1_to_reuse(finished_run, tiny_data, tmp_path):
    checkpoint = RunFolder(finished_run).stage("world_model").last_checkpoint
    run = tmp_path / "reused"
    assert tiny_fit(tiny_data, run, "--world_model_from", str(checkpoint)) == 0
    assert_equal_weights(run, finished_run, "policy")


def test_stage_1_trained_otherwise_is_refused(finished_run, tiny_data, tmp_path, capsys):
    run = tmp_path / "refused"
    arguments = ("--world_model_from", str(finished_run), "--world_model.model.deter", "12")
    assert tiny_fit(tiny_data, run, *arguments) == 2
    assert "world_model.model.deter (16 there, 12 here)" in capsys.readouterr().err
    assert not run.exists()


def test_stage_1_on_other_data_is_refused(finished_run, tiny_data, tmp_path, capsys):
    run = tmp_path / "refused"
    arguments = ("--world_model_from", str(finished_run), "--data.label_seed", "3")
    assert tiny_fit(tiny_data, run, *arguments) == 2
    assert "data.content" in capsys.readouterr().err


def test_another_policy_in_the_same_world_model(finished_run, tiny_data, tmp_path):
    arguments = ("--world_model_from", str(finished_run), "--policy_seed")
    same, other = tmp_path / "same", tmp_path / "other"
    assert tiny_fit(tiny_data, same, *arguments, "0") == 0
    assert_equal_weights(same, finished_run, "policy")
    assert tiny_fit(tiny_data, other, *arguments, "7") == 0
    assert_equal_weights(other, finished_run, "world_model")
    with pytest.raises(AssertionError):
        assert_equal_weights(other, finished_run, "policy")
    assert main(["fit", "--resume", str(other)]) == 0  # nothing is left to do, and none is refused


def test_stage_1_of_another_seed_is_refused_and_says_how(finished_run, tiny_data, tmp_path, capsys):
    arguments = ("--world_model_from", str(finished_run), "--seed", "7")
    assert tiny_fit(tiny_data, tmp_path / "refused", *arguments) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "seed (0 there, 7 here)" in error
    assert "keep its seed, and set --policy_seed" in error


def test_an_unfinished_stage_1_cannot_be_reused(tiny_data, tmp_path, stop_at, capsys):
    stop_at(WorldModelModule, 13, signal.SIGINT)
    unfinished = tmp_path / "unfinished"
    assert tiny_fit(tiny_data, unfinished) == 130
    assert tiny_fit(tiny_data, tmp_path / "run", "--world_model_from", str(unfinished)) == 2
    assert "is not finished" in capsys.readouterr().err


def test_a_missing_stage_1_to_reuse_is_refused(tiny_data, tmp_path, capsys):
    assert tiny_fit(tiny_data, tmp_path / "run", "--world_model_from", "/nowhere") == 2
    assert "--world_model_from /nowhere does not exist" in capsys.readouterr().err


def test_policy_alone_needs_a_stage_1(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--stage", "policy") == 2
    assert "--stage policy needs a finished stage 1" in capsys.readouterr().err
    assert not run.exists()


def test_a_finished_run_is_only_reported_again(finished_run, capsys, monkeypatch):
    def train_again(self, batch, batch_idx):
        raise AssertionError("trained again")

    monkeypatch.setattr(LatentPolicyModule, "training_step", train_again)
    before = (finished_run / "report.json").read_text()
    assert main(["fit", "--resume", str(finished_run)]) == 0
    report, expected = (json.loads(t) for t in ((finished_run / "report.json").read_text(), before))
    assert report["evaluation"] == expected["evaluation"]
    assert "Return, final policy" in capsys.readouterr().out


def test_a_finished_policy_can_be_trained_further(finished_run, tiny_data, tmp_path):
    """Without a cooldown, whose place depends on the stage's length, as if asked for at once."""
    short, long = tmp_path / "short", tmp_path / "long"
    constant = ("--world_model_from", str(finished_run), "--policy.cooldown", "0")
    assert tiny_fit(tiny_data, short, *constant) == 0
    assert main(["fit", "--resume", str(short), "--stages.policy.max_steps", "15"]) == 0
    assert [row["step"] for row in rows(short / "evaluation.csv")] == ["5", "10", "15"]
    assert tiny_fit(tiny_data, long, *constant, "--stages.policy.max_steps", "15") == 0
    assert_equal_weights(short, long, "policy")
    saved = yaml.safe_load((short / "config.yaml").read_text())
    assert saved["stages"]["policy"]["max_steps"] == 15


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("--world_model.model.deter", "12"), "world_model.model.deter (16 there, 12 here)"),
        (("--policy.horizon", "4"), "policy.horizon (3 there, 4 here)"),
        (("--seed", "1"), "seed (0 there, 1 here)"),
        (("--stages.world_model.max_steps", "30"), "max_steps (20 there, 30 here)"),
        (("--stages.policy.max_steps", "3"), "training does not go back"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(override, message, finished_run, capsys):
    before = {p: p.read_bytes() for p in finished_run.rglob("*") if p.is_file()}
    assert main(["fit", "--resume", str(finished_run), *override]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {p: p.read_bytes() for p in finished_run.rglob("*") if p.is_file()} == before


def test_an_unknown_environment_is_refused_before_stage_1(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--evaluation.env_id", "dm_control/cheetah-rum") == 2
    assert "dm_control/cheetah-run" in capsys.readouterr().err
    assert not run.exists()


def test_without_an_environment_the_run_is_not_evaluated(finished_run, tiny_data, tmp_path):
    run, trained = tmp_path / "run", ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, run, *trained, "--evaluation.env_id", "none") == 0
    report = json.loads((run / "report.json").read_text())
    evaluation = report["evaluation"]
    assert (set(evaluation), report["environment"]) == ({"selection"}, None)
    assert (
        read_checkpoint(RunFolder(run).stage("policy").selected_checkpoint)["global_step"]
        == (evaluation["selection"]["step"])
    )
    assert not (run / "evaluation.csv").exists()


def test_validation_does_not_change_the_weights(finished_run, tiny_data, tmp_path):
    run = tmp_path / "run"
    other = ("--stages.world_model.val_check_interval", "7", "--stage", "world_model")
    assert tiny_fit(tiny_data, run, *other) == 0
    assert_equal_weights(run, finished_run, "world_model")


def test_a_finished_policy_stays_in_the_report_when_stage_1_is_asked_for(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    report = json.loads((run / "report.json").read_text())
    assert main(["fit", "--resume", str(run), "--stage", "world_model"]) == 0
    assert json.loads((run / "report.json").read_text()) == report | {"run": str(run)}


def test_batches_without_an_action_free_row_are_logged_too(tiny_data, tmp_path):
    run = tmp_path / "run"
    ratio = ("--data.labelled_ratio", "0.8", "--data.batch_size", "4", "--stage", "world_model")
    assert tiny_fit(tiny_data, run, *ratio) == 0
    for row in rows(run / "world_model" / "metrics.csv"):
        assert float(row["world_model/labelled/action"])
        assert float(row["world_model/action_free/observation"])


def test_a_stage_that_something_ended_early_is_not_finished(tiny_data, tmp_path, capsys):
    run, only = tmp_path / "run", ("--stage", "world_model")
    assert tiny_fit(tiny_data, run, *only, "--trainer.limit_train_batches", "0") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "the stage world_model ended at step 0 of stages.world_model.max_steps = " in error
    assert "trainer.limit_train_batches" in error
    assert not (run / "world_model" / "DONE").exists()


def test_the_seed_changes_the_weights(finished_run, tiny_data, tmp_path):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, "--seed", "1", "--stage", "world_model") == 0
    with pytest.raises(AssertionError):
        assert_equal_weights(run, finished_run, "world_model")
