from __future__ import annotations

import json

import pytest
import torch

from lawm.benchmarks import lightning_overhead, throughput, workloads
from lawm.cli import main

CPU = torch.device("cpu")
TINY = workloads.Size(deter=16, hidden=16, stoch=4)
QUICK = ["--repeats", "2", "--batch_sizes", "4", "--windows", "5", "--episodes", "20"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(workloads.SIZES, "small", TINY)
    monkeypatch.setattr(throughput, "PEAK_SIZES", (64,))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_throughput_writes_a_row_for_each_case(tmp_path, capsys):
    file = tmp_path / "rows.json"
    options = [*QUICK, "--starts", "8", "--horizons", "3", "4", "--threads", "1"]
    assert main(["bench", "throughput", *options, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    cases = [(row["stage"], row["batch"], row["window"]) for row in rows]
    assert cases == [(1, 4, 5), (2, 8, 3), (2, 8, 4)]
    asked_for = {
        "stage",
        "size",
        "batch",
        "window",
        "device",
        "precision",
        "compile",
        "lawm_transitions_per_s",
        "reference_transitions_per_s",
        "matmul_peak_share",
    }
    for row in rows:
        assert asked_for <= row.keys()
        assert row["lawm_transitions_per_s"] > 0
        assert row["reference_transitions_per_s"] > 0
        assert row["threads"] == 1
        assert sum(row["shares"].values()) == pytest.approx(1.0)
        assert set(row["shares"]) == {"data", "forward", "backward", "optimiser", "logging"}
        expected = row["batch"] * row["window"] * row["lawm_updates_per_s"]
        assert row["lawm_transitions_per_s"] == pytest.approx(expected)
    printed = " ".join(capsys.readouterr().out.split())  # lines break where the table ends
    assert "stock Dreamer" in printed


def test_matmul_work_is_what_the_layers_say():
    """Twice the rows are twice the products."""
    small, large = (
        throughput.measure(
            throughput.Case(1, "small", batch, 5, 20), torch.device("cpu"), repeats=1
        )
        for batch in (4, 8)
    )
    assert large.matmul_gflop_per_update == pytest.approx(
        2 * small.matmul_gflop_per_update, rel=1e-3
    )


def test_bfloat16(tmp_path):
    options = [*QUICK, "--stages", "1", "--precision", "bf16-mixed", "--compile", "off"]
    file = tmp_path / "rows.json"
    assert main(["bench", "throughput", *options, "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())
    assert (row["precision"], row["compile"]) == ("bf16-mixed", "off")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lightning_overhead_times_both_loops(precision, monkeypatch):
    fits, precisions = [], set()
    fit = lightning_overhead._fit

    def watched(size, data, steps, precision):
        fits.append(steps)
        precisions.add(precision)
        return fit(size, data, steps, precision)

    monkeypatch.setattr(lightning_overhead, "_fit", watched)
    overhead = lightning_overhead.measure_overhead(precision, batch=4, window=4, steps=4, rounds=2)
    assert fits == [1, 5, 1, 5]
    assert precisions == {precision}
    assert overhead.bare > 0


def test_overhead_is_a_share_of_lightnings_time():
    assert lightning_overhead.Overhead(lightning=2.0, bare=1.5).share == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--batch_sizes", "0"], "--batch_sizes is [0]; expected numbers from 1."),
        (["--batch_sizes", "1"], "half of a batch is labelled, so expected numbers from 2"),
        (["--windows", "-3"], "--windows is [-3]; expected numbers from 1."),
        (["--threads", "0"], "--threads is 0; expected a number from 1."),
        (["--repeats", "0"], "--repeats is 0; expected a number from 1."),
        (["--episodes", "5"], "a tenth is labelled, so expected numbers from 20"),
        (["--json", "walker.h5"], "expected a file that ends in .json"),
        (["--json", "/no/such/folder/x.json"], "the folder /no/such/folder does not exist"),
    ],
)
def test_bad_input(options, sentence, capsys):
    assert main(["bench", "throughput", *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(capsys):
    assert main(["bench", "throughput", "--device", "cuda"]) == 2
    assert "torch finds no CUDA device here; use cpu or auto" in capsys.readouterr().err


def test_the_reference_learns():
    """It is a fair opponent: its losses fall on data that can be predicted."""
    from lawm.benchmarks.reference_dreamer import ReferenceActorCritic, ReferenceWorldModel

    torch.manual_seed(0)
    model = ReferenceWorldModel(3, 2, 16, 4, 16)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    action = torch.rand(8, 10, 2) * 2 - 1
    obs = torch.cat([torch.zeros(8, 1, 2), action.cumsum(1)], 1)
    obs = torch.cat([obs, obs[..., :1]], -1)
    losses = []
    for _ in range(60):
        loss = model.loss(obs, action, action[..., 0], torch.zeros(8, 10))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    actor_critic = ReferenceActorCritic(model, 2, 16)
    loss = actor_critic.loss(torch.zeros(8, 16), torch.zeros(8, 4), 3)
    loss.backward()
    assert all(p.grad is not None for p in actor_critic.actor.parameters())
    assert not any(p.requires_grad for p in model.parameters())
