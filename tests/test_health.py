"""A loss or gradient that is not finite stops the run, names its batch, and can be replayed."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny_fit

from lawm.cli import main
from lawm.fault_file import read_fault, write_fault
from lawm.policy_module import LatentPolicyModule
from lawm.run_folder import RunFolder
from lawm.world_model_module import WorldModelModule

BAD_STEP = {"world_model": 13, "policy": 7}
MODULES = {"world_model": WorldModelModule, "policy": LatentPolicyModule}


@pytest.fixture(params=["world_model", "policy"])
def stage(request):
    return request.param


# What a batch is saved with does not depend on the kind
ONE_KIND = pytest.mark.parametrize(
    "poisoned", ["loss", pytest.param("gradient", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def trained(stage, finished_run):
    """Arguments that spare a fault of stage 2 the training of stage 1."""
    return ("--world_model_from", str(finished_run)) if stage == "policy" else ()


@pytest.fixture(params=["loss", "gradient"])
def poisoned(request, stage, monkeypatch):
    """The loss of one step is not finite, or its gradient alone; what it was before."""
    cls = MODULES[stage]
    original, seen = cls.compute_loss, {}

    def compute_loss(self, batch):
        loss, logs = original(self, batch)
        if self._trainer is not None and self.global_step == BAD_STEP[stage] and self.training:
            seen["loss"] = float(loss.detach())
            seen["weights"] = {k: v.clone() for k, v in self.state_dict().items()}
            if request.param == "loss":
                return loss * float("nan"), logs
            parameter = next(p for p in self.parameters() if p.requires_grad)
            loss = loss + (parameter.flatten()[:1] * 0.0).abs().sqrt().sum()  # 0, slope 0/0
        return loss, logs

    monkeypatch.setattr(cls, "compute_loss", compute_loss)
    return request.param, seen


def test_the_run_stops_with_the_batch_named_and_saved(
    poisoned, stage, trained, tiny_data, tmp_path, capsys, monkeypatch
):
    run, (kind, seen) = tmp_path / "run", poisoned
    assert tiny_fit(tiny_data, run, *trained) == 2
    error = " ".join(capsys.readouterr().err.split())
    step = BAD_STEP[stage]
    assert f"{stage}: the {kind} of step {step} is not finite" in error
    assert f"{tiny_data}, episode " in error
    assert "Traceback" not in error
    file = run / "faults" / f"{stage}-step-{step}-rank-0.npz"
    assert f"`lawm replay {file}`" in error
    assert f"start a new run with a lower {stage}.learning_rate" in error
    assert (f"`--world_model_from {run}` takes its stage 1 over" in error) == (stage == "policy")

    # The last checkpoint is from before, nothing was saved since, and the run goes on from it
    last = torch.load(RunFolder(run).stage(stage).last_checkpoint, weights_only=True)
    assert last["global_step"] == step // 5 * 5 if stage == "policy" else 10
    assert all(bool(v.isfinite().all()) for v in last["state_dict"].values())

    # The file has the batch, where each row comes from, and the weights before the step
    fault = read_fault(file)
    assert fault.stage == stage
    assert len(fault.info["rows"]) == (8 if stage == "policy" else 4)
    saved = torch.load(file.with_suffix(".ckpt"), weights_only=True)
    for name, value in saved["state_dict"].items():
        assert value.equal(seen["weights"][name]), name

    # Replayed without what made it bad: finite, and the very same loss
    monkeypatch.undo()
    assert main(["replay", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "Everything is finite here" in shown
    replayed = next(line for line in shown.splitlines() if line.split()[1:2] == ["loss"])
    assert float(replayed.split()[3]) == pytest.approx(seen["loss"], rel=1e-4)
    assert main(["fit", "--resume", str(run)]) == 0


@ONE_KIND
def test_a_replay_names_the_rows_at_fault(poisoned, stage, trained, tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *trained) == 2
    file = next((run / "faults").glob("*.npz"))
    fault = read_fault(file)
    row = 2
    tensor = fault.batch.h if stage == "policy" else fault.batch.obs["state"]
    tensor[row] = float("inf")
    write_fault(file, fault)
    capsys.readouterr()
    assert main(["replay", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "The fault is reproduced." in shown
    assert "Rows that are not finite by themselves (1):" in shown
    assert f"row 2: {fault.info['rows'][row]}" in shown


@ONE_KIND
def test_with_accumulated_gradients_every_part_is_saved(
    poisoned, stage, trained, tiny_data, tmp_path, capsys
):
    run = tmp_path / "run"
    twice = (f"--stages.{stage}.accumulate_grad_batches", "2")
    assert tiny_fit(tiny_data, run, *trained, *twice) == 2
    assert "and its 1 other parts" in " ".join(capsys.readouterr().err.split())
    names = sorted(file.name for file in (run / "faults").iterdir())
    base = f"{stage}-step-{BAD_STEP[stage]}-rank-0"
    assert names == [f"{base}{end}" for end in ("-part-1.ckpt", "-part-1.npz", ".ckpt", ".npz")]
