"""The loaders under a real Trainer: the state that it saves, and processes that share the data."""

from __future__ import annotations

import json
import subprocess
import sys

import probe_training
import pytest
import torch
from probe_training import Probe, make_data, make_trainer
from shard_factory import write_shard


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "a.h5", lengths=[9] * 12, counter=False)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop", [3, 4])  # between two validations, and at one
def test_stop_and_resume_equals_one_run(shard, tmp_path, stop, accumulate):
    whole, first, second = Probe(), Probe(), Probe()
    make_trainer(9, accumulate_grad_batches=accumulate).fit(whole, make_data(shard))

    trainer = make_trainer(stop, accumulate_grad_batches=accumulate)
    trainer.fit(first, make_data(shard))
    checkpoint = tmp_path / "stopped.ckpt"
    trainer.save_checkpoint(checkpoint)
    make_trainer(9, accumulate_grad_batches=accumulate).fit(
        second, make_data(shard), ckpt_path=checkpoint, weights_only=True
    )

    assert len(whole.seen) == 9 * accumulate
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.net.weight, whole.net.weight)


def test_validation_runs_over_all_held_out_windows(shard):
    probe = Probe()
    make_trainer(4).fit(probe, make_data(shard))
    assert probe.validated == 2 * 3  # two episodes of nine steps, windows of three


@pytest.mark.filterwarnings("ignore:Total length of `list`:UserWarning")  # Lightning's, and wanted
def test_nothing_held_out_trains_without_validation(shard):
    probe = Probe()
    make_trainer(4).fit(probe, make_data(shard, held_out="none"))
    assert (len(probe.seen), probe.validated) == (4, 0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_survive_the_transfer(shard, device):
    data = make_data(shard)
    batch = next(iter(data.train_dataloader()))
    moved = data.transfer_batch_to_device(batch, torch.device(device), 0)
    assert moved.action.device.type == device
    for name in ("action", "reward", "terminated", "has_reward"):
        assert torch.equal(getattr(moved, name).cpu(), getattr(batch, name))
    assert torch.equal(moved.obs["state"].cpu(), batch.obs["state"])


@pytest.mark.slow
def test_two_processes_share_out_one_stream_and_agree(shard, tmp_path):
    """Two DDP processes of batch size 5 see what one process sees in twice the steps.

    With a whole number of labelled rows: else those of one step would have the same, see
    test_mixed_trajectories.py.
    """
    command = [sys.executable, probe_training.__file__, str(shard), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]

    alone = Probe()
    make_trainer(12).fit(alone, make_data(shard, labelled_ratio=0.4))
    together = [
        rows for step in zip(*(rank["seen"] for rank in ranks), strict=True) for rows in step
    ]
    assert together == alone.seen
    assert ranks[0]["weight"] == ranks[1]["weight"]
