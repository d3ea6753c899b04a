from __future__ import annotations

import pytest
import torch
import yaml
from shard_factory import write_shard
from tiny_runs import CONF, fit_arguments, tiny_fit

from lawm.cli import main
from lawm.cli.fit_parser import parse_fit
from lawm.cli.launch import default_threads

CONFIGS = sorted(CONF.rglob("*.yaml"))
# Those that differ from another one in data or sizes alone
ALIKE = {
    *("walker", "cartpole", "finger", "finger_rollouts", "walker_rollouts"),
    *("pixels_12m", "pixels_25m"),
}
# Those that run in test_baselines.py, and the one that every run of the tests is made with
RUN_ELSEWHERE = {"pseudo_label", "masked_action", "bc", "bc_pseudo_label", "debug"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=[pytest.mark.slow] * (p.stem in ALIKE | RUN_ELSEWHERE))
        for p in CONFIGS
    ],
    ids=lambda path: str(path.relative_to(CONF)),
)
def test_every_config_trains_both_stages(path, tiny_data, tmp_path):
    data = tiny_data
    if path.stem.startswith("pixels_"):
        options = {"counter": False, "image": True, "image_key": "pixels"}
        data = write_shard(tmp_path / "pixels.h5", lengths=[20] * 12, **options)
    configs = ["--config", str(path), "--config", str(CONF / "debug.yaml")]
    run = tmp_path / "run"
    code = main(
        [
            *("fit", *configs, "--data.shards", str(data), "--data.labels", "5"),
            *("--data.held_out", "2", "--trainer.accelerator", "cpu", "--threads", "1"),
            *("--run_dir", str(run)),
        ]
    )
    assert code == 0
    assert (run / "report.json").is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(CONF)))
def test_every_config_is_short_and_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 40
    assert any("lawm fit --config" in line for line in lines)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--seed", "-1", "seed is -1; expected a whole number from 0 to 4294967295"),
        ("--seed", "99999999999999999999", "expected a whole number from 0 to 4294967295"),
        ("--evaluation.seed", "-1", "evaluation.seed is -1; expected a whole number from 0"),
        ("--threads", "0", "threads is 0; expected a whole number from 1"),
        ("--trainer.accumulate_grad_batches", "0", "trainer.accumulate_grad_batches is 0"),
        ("--trainer.accelerator", "nope", "Lightning refuses trainer.* or stages.world_model.*"),
        ("--trainer.strategy", "nope", "Lightning refuses trainer.*"),
        ("--trainer.devices", "nope", "Lightning refuses trainer.*"),
        ("--trainer.devices", "0", "Lightning refuses trainer.*"),
        ("--trainer.num_nodes", "2", "trainer.num_nodes is 2, but this process was started on its"),
    ],
)
def test_a_refused_setting_leaves_no_run_folder(
    option, value, message, tiny_data, tmp_path, capsys
):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, option, value) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
    assert not run.exists()


def test_the_default_run_folder_is_named_after_the_experiment(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(fit_arguments(tiny_data, None, "--stage", "world_model")) == 0
    (run,) = (tmp_path / "runs" / "debug").iterdir()
    assert (run / "world_model" / "DONE").is_file()
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["name"] == "debug"


def test_a_folder_with_other_files_is_not_touched(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("ten years of work")
    assert tiny_fit(tiny_data, run) == 2
    assert "is not empty, and lawm overwrites nothing" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["thesis.txt"]


def test_a_finished_run_is_not_overwritten(finished_run, tiny_data, capsys):
    before = {p: p.read_bytes() for p in finished_run.rglob("*") if p.is_file()}
    assert tiny_fit(tiny_data, finished_run) == 2
    error = capsys.readouterr().err
    assert f"has this same configuration, use `lawm fit --resume {finished_run}`" in error
    assert tiny_fit(tiny_data, finished_run, "--policy.horizon", "2") == 2
    assert "has another configuration" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in finished_run.rglob("*") if p.is_file()} == before


def test_bad_data_leaves_no_run_folder(tmp_path, capsys):
    shard = write_shard(tmp_path / "free.h5", lengths=[20] * 4, has_action=False)
    run = tmp_path / "run"
    assert tiny_fit(shard, run) == 2
    assert capsys.readouterr().err.startswith("lawm: error: ")
    assert not run.exists()


def test_threads_are_set(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    shard = tmp_path / "missing.h5"
    assert tiny_fit(shard, tmp_path / "run", "--threads", "3") == 2
    assert chosen == [3]


@pytest.mark.parametrize(
    ("devices", "cores", "threads"), [("auto", 8, 8), ("2", 8, 4), ("9", 8, 1)]
)
def test_processes_share_the_cores(devices, cores, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    config = parse_fit(["--data.shards", "a.h5", "--trainer.devices", devices]).config
    assert default_threads(config) == threads


CALLBACK = """
from pathlib import Path
import lightning.pytorch as pl

class WritesSteps(pl.Callback):
    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_end(self, trainer, pl_module):
        self.file.write_text(f"{type(pl_module).__name__} {trainer.global_step}")
"""


def test_a_stage_takes_callbacks_of_the_user(tiny_data, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_callbacks.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(str(tmp_path))
    config, told = tmp_path / "watch.yaml", tmp_path / "told.txt"
    config.write_text(
        "stages: {policy: {callbacks: [{class_path: my_callbacks.WritesSteps, "
        f"init_args: {{file: {told}}}}}]}}}}\n"
    )
    options = ("--config", str(config))
    assert tiny_fit(tiny_data, tmp_path / "refused", *options) == 2
    assert "--allow-import" in capsys.readouterr().err
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *options, "--allow-import", "my_callbacks") == 0
    assert told.read_text() == "LatentPolicyModule 10"
    assert "my_callbacks.WritesSteps" in (run / "config.yaml").read_text()
