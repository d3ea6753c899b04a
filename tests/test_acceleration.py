"""The setting `compile`: what it switches, and that it does not change what is computed."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch
import yaml
from model_factory import SMALL, make_batch, make_model, make_spec
from tiny_runs import tiny_fit, tiny_shard

from lawm.acceleration import accelerate
from lawm.cli import main
from lawm.cli.fit_parser import parse_fit
from lawm.errors import LawmError
from lawm.fused import build
from lawm.fused.kernels import enable_kernels, kernels_usable
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule


@pytest.fixture(autouse=True)
def kernels():
    yield
    enable_kernels(True)


def stage_1():
    torch.manual_seed(0)
    return WorldModelModule(make_spec(), WorldModelConfig(**SMALL))


def test_off_leaves_the_kernels_alone():
    accelerate(stage_1(), "off")
    assert not kernels_usable(torch.zeros(1))


def test_auto_uses_them_where_there_is_a_compiler():
    accelerate(stage_1(), "auto")
    assert kernels_usable(torch.zeros(1)) == (build.find_kernels() is not None)


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("has_bf16", [True, False])
def test_bfloat16_without_kernels_for_it_is_told(mode, has_bf16, monkeypatch):
    monkeypatch.setattr("lawm.acceleration.bf16_kernels", lambda: has_bf16)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        accelerate(stage_1(), mode, bf16_on_cpu=True)
        accelerate(stage_1(), mode)
    assert len(told) == (0 if mode == "auto" and has_bf16 else 1)
    assert all("do not multiply in bfloat16 here" in str(warning.message) for warning in told)


def test_full_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LawmError, match="compile is 'full', but no C\\+\\+ compiler"):
        accelerate(stage_1(), "full")


def test_an_unknown_mode_is_refused(capsys):
    assert main(["fit", "--data.shards", "x.h5", "--compile", "fast"]) == 2
    error = capsys.readouterr().err
    assert "compile" in error
    assert "expected one of auto, off, full, got fast" in error


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_a_run_in_either_mode(mode, finished_run, tiny_data, tmp_path):
    """The mode stands in its configuration; that of the finished run was auto."""
    run = finished_run
    if mode != "auto":
        run = tmp_path / mode
        assert tiny_fit(tiny_data, run, "--compile", mode) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["compile"] == mode
    assert main(["fit", "--resume", str(run)]) == 0  # which reads that file
    assert json.loads((run / "report.json").read_text())["evaluation"]["final"]["episodes"] > 0


@pytest.mark.parametrize("written", ["off", "'off'", "auto"])
def test_the_mode_in_a_yaml_file(written, tmp_path):
    """A bare off is a truth value in YAML 1.1."""
    file = tmp_path / "mode.yaml"
    file.write_text(f"compile: {written}\n")
    request = parse_fit(["--data.shards", "x.h5", "--config", str(file)])
    assert request.config.compile == written.strip("'")


def test_an_unknown_mode_in_a_yaml_file_is_refused(tmp_path, capsys):
    file = tmp_path / "mode.yaml"
    file.write_text("compile: fast\n")
    assert main(["fit", "--data.shards", "x.h5", "--config", str(file)]) == 2
    assert "expected one of auto, off, full, got fast" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["trainer.precision", "stages.policy.precision"])
@pytest.mark.parametrize("precision", ["16-mixed", "64-true"])
def test_another_precision_is_refused(key, precision, capsys):
    assert main(["fit", "--data.shards", "x.h5", f"--{key}", precision]) == 2
    assert f"{key} is {precision}; expected one of 32-true" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["trainer", "stages.policy"])
def test_no_steps_between_two_log_steps_are_refused(key, capsys):
    key = f"{key}.log_every_n_steps"
    assert main(["fit", "--data.shards", "x.h5", f"--{key}", "0"]) == 2
    assert f"{key} is 0; expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:trainer.precision is bf16-mixed")  # of other processors
def test_a_run_in_bfloat16(tmp_path):
    run, options = tmp_path / "run", []
    for stage in ("world_model", "policy"):
        options += [f"--stages.{stage}.precision", "bf16-mixed"]
    assert tiny_fit(tiny_shard(tmp_path), run, *options) == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", [1, 2])
def test_full_computes_the_same_losses_and_gradients(stage):
    results = []
    for mode in ("off", "full"):
        if stage == 1:
            module, batch = stage_1(), make_batch(window=2)
        else:
            module = LatentPolicyModule(make_model(), make_spec(), hidden=16, horizon=2)
            torch.manual_seed(1)
            for parameter in [*module.policy.parameters(), *module.critic.parameters()]:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            batch = ModelState(torch.randn(64, 16), torch.randn(64, 4))
        torch._inductor.config.fallback_random = True  # the generator of plain PyTorch
        accelerate(module, mode)
        torch.manual_seed(2)
        loss, _ = module.compute_loss(batch)
        loss.backward()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        results.append((loss.detach(), gradients))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    for plain, compiled in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-2, atol=1e-4)
