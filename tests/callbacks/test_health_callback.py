from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from lawm.callbacks.health import HISTORY, LEAST_HISTORY, LossHistory
from lawm.finite_guard import FiniteGuard, NotFiniteError

CURVES = Path(__file__).parent / "loss_curves.csv"


def curves():
    """Logged losses of real runs of both stages: cheetah and walker, lawm and baselines."""
    with CURVES.open(newline="") as file:
        return {row[0]: [float(value) for value in row[1:]] for row in csv.reader(file)}


def warnings(values):
    history = LossHistory()
    return [step for step, value in enumerate(values) if history.add(value)]


@pytest.mark.parametrize(("name", "values"), curves().items())
def test_normal_runs_do_not_explode(name, values):
    assert warnings(values) == []


@pytest.mark.parametrize(("name", "values"), curves().items())
def test_an_explosion_at_the_end_of_a_normal_run_is_told_once(name, values):
    spread = max(values) - min(values)
    exploding = [*values, *(values[-1] + spread * 10.0 ** (k + 1) for k in range(8))]
    found = warnings(exploding)
    assert len(found) == 1
    assert len(values) <= found[0] <= len(values) + 2


def test_the_rule_by_hand():
    flat = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95]  # median 1, deviation 0.05, range 0.2
    assert warnings([*flat, 1.99]) == []
    assert warnings([*flat, 2.01]) == [len(flat)]
    assert warnings([*flat, -50.0]) == []  # falling is what losses are for
    assert warnings([1.0, 50.0]) == []  # too early to tell
    assert warnings([5.0] * LEAST_HISTORY + [5.9]) == []  # constant: 20 times 1 % are allowed
    assert warnings([5.0] * LEAST_HISTORY + [6.1]) == [LEAST_HISTORY]
    text = LossHistory()
    sentence = [text.add(value) for value in [*flat, 1e9]][-1]
    assert "exploded: 1e+09, while the median of the last 6 logged was 1 and" in sentence


def test_a_second_explosion_is_told_after_a_while():
    values = [1.0, 1.1] * HISTORY + [1e3] + [1.0, 1.1] * HISTORY + [1e6]
    assert warnings(values) == [2 * HISTORY, 4 * HISTORY + 1]


@pytest.fixture
def parameter_and_optimizer():
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    return parameter, torch.optim.AdamW([parameter], lr=0.1, fused=True)


class LaterGuard(FiniteGuard):
    """Does not look by itself, as on a GPU."""

    def watch(self, *args):
        try:
            super().watch(*args)
        except NotFiniteError:
            return


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (-math.inf, math.nan)]
)
def test_weights_stay_as_they_were_before_the_first_bad_update(loss, norm, parameter_and_optimizer):
    parameter, optimizer = parameter_and_optimizer
    guard = LaterGuard()
    guard.watch(optimizer, 0, torch.tensor(0.5), torch.tensor(1.0))
    optimizer.step()
    good = parameter.detach().clone()
    assert not good.equal(torch.ones(3))
    guard.raise_if_found()

    guard.watch(optimizer, 1, torch.tensor(loss), torch.tensor(norm))
    parameter.grad = torch.full((3,), math.nan)
    optimizer.step()
    for step in (2, 3):  # later ones are good again, and yet none is made
        guard.watch(optimizer, step, torch.tensor(0.1), torch.tensor(0.2))
        parameter.grad = torch.ones(3)
        optimizer.step()
    assert parameter.equal(good)
    with pytest.raises(NotFiniteError) as caught:
        guard.raise_if_found()
    found = caught.value
    assert found.step == 1
    assert (found.loss, found.gradient_norm) == pytest.approx((loss, norm), nan_ok=True)


def test_on_a_cpu_it_is_told_before_the_update(parameter_and_optimizer):
    _, optimizer = parameter_and_optimizer
    with pytest.raises(NotFiniteError, match="in step 7"):
        FiniteGuard().watch(optimizer, 7, torch.tensor(math.nan), torch.tensor(1.0))


@pytest.mark.gpu
def test_on_a_gpu_the_host_does_not_wait():
    parameter = torch.nn.Parameter(torch.ones(3, device="cuda"))
    parameter.grad = torch.ones(3, device="cuda")
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
    guard = FiniteGuard()
    loss, norm = torch.tensor(math.nan, device="cuda"), torch.tensor(1.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        guard.watch(optimizer, 0, loss, norm)
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert parameter.equal(torch.ones(3, device="cuda"))
    with pytest.raises(NotFiniteError):
        guard.raise_if_found()
