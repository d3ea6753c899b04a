"""Two processes train as one with the same batches does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_factory import OBS_DIM
from shard_factory import write_shard
from training_on_two_processes import (
    Losses,
    batches_of_both,
    make_data,
    make_stage,
    make_trainer,
    remove_noise,
)


class Batches(list):
    """One loader; Lightning takes a plain list for several."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # the frozen world model of stage 2
@pytest.mark.parametrize("transition_input", ["action", "latent"])
@pytest.mark.parametrize("stage", ["world_model", "policy"])
def test_two_processes_have_the_curve_and_weights_of_one_with_the_same_global_batches(
    stage, transition_input, tmp_path, monkeypatch
):
    shard = write_shard(tmp_path / "a.h5", lengths=[12] * 9, obs_dim=OBS_DIM, counter=False)
    tests = Path(__file__).parent
    subprocess.run(
        [
            *(sys.executable, str(tests / "training_on_two_processes.py")),
            *(stage, str(shard), transition_input, str(tmp_path)),
        ],
        env=os.environ | {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tests}"},
        check=True,
        timeout=300,
    )
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    remove_noise(monkeypatch)
    data, curve = make_data(shard), Losses()
    module, starts = make_stage(stage, data, transition_input)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batches = Batches(batches_of_both(stage, data, module, starts))
    validation = batches if stage == "world_model" else None
    make_trainer(devices=1, callbacks=[curve]).fit(module, batches, val_dataloaders=validation)
    alone = module.state_dict()

    mean = (ranks[0]["losses"] + ranks[1]["losses"]) / 2
    torch.testing.assert_close(mean, torch.tensor(curve.values), atol=2e-6, rtol=1e-4)
    weights = [rank["weights"] for rank in ranks]
    assert weights[0].keys() == weights[1].keys() == alone.keys()
    for name, value in alone.items():
        assert weights[0][name].equal(weights[1][name]), name
        torch.testing.assert_close(weights[0][name], value, atol=2e-6, rtol=1e-4, msg=name)
    moved = [name for name, value in alone.items() if (value - before[name]).abs().max() > 1e-4]
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert len(moved) > 0.8 * len(trained)
