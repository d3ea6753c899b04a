from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_factory import OBS_DIM
from shard_factory import write_shard
from stage_one_on_two_processes import (
    STEPS,
    joined,
    make_data,
    make_module,
    make_trainer,
    without_noise,
)

from lawm.latents import GaussianLatent


class Batches(list):
    """One loader; Lightning takes a plain list for several."""


@pytest.mark.slow
@pytest.mark.parametrize("transition_input", ["action", "latent"])
def test_two_processes_reach_the_weights_of_one_with_the_same_global_batches(
    transition_input, tmp_path, monkeypatch
):
    shard = write_shard(tmp_path / "a.h5", lengths=[12] * 9, obs_dim=OBS_DIM, counter=False)
    tests = Path(__file__).parent
    subprocess.run(
        [
            *(sys.executable, str(tests / "stage_one_on_two_processes.py")),
            *(str(shard), transition_input, str(tmp_path)),
        ],
        env=os.environ | {"PYTHONPATH": str(tests)},
        check=True,
        timeout=300,
    )
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    monkeypatch.setattr(GaussianLatent, "noise", without_noise)
    data = make_data(shard)
    module = make_module(data, transition_input)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    stream = iter(data.train_dataloader())
    batches = Batches(joined(next(stream), next(stream)) for _ in range(STEPS))
    make_trainer(devices=1).fit(module, batches, val_dataloaders=batches)
    alone = module.state_dict()

    assert ranks[0].keys() == ranks[1].keys() == alone.keys()
    for name, value in alone.items():
        assert ranks[0][name].equal(ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value, atol=2e-6, rtol=1e-4, msg=name)
    moved = [name for name, value in alone.items() if (value - before[name]).abs().max() > 1e-4]
    assert len(moved) > 0.8 * len(list(module.parameters()))
