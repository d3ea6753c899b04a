from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from lawm.evaluation_result import EvaluationResult
from lawm.report import build_report, evaluation_numbers, print_report, return_text
from lawm.run_folder import RunFolder, StageRecord
from lawm.spec import DataSpec

SPEC = DataSpec({}, (-1.0,), (1.0,), env_id="tiny/line", return_mean=100.0, return_best=200.0)
UNKNOWN = DataSpec({}, (-1.0,), (1.0,))
SUMMARY = {
    "labelled episodes": 3,
    "action-free episodes": 4,
    "held-out episodes": 1,
    "episodes with rewards": 2,
}


def result(*returns):
    return EvaluationResult(returns, (1,) * len(returns), tuple(range(len(returns))))


def test_a_return_is_set_against_the_data():
    numbers = evaluation_numbers(SPEC, result(140.0, 160.0), step=7)
    assert numbers["normalised"] == 0.5
    assert return_text(numbers) == (
        "150.0 ± 14.1 over 2 episodes, step 7; normalised 0.50 (data's mean 0, its best 1)"
    )


def test_what_is_unknown_is_left_out():
    numbers = evaluation_numbers(UNKNOWN, result(1.0))
    assert return_text(numbers) == "1.00 over 1 episode"


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        ((140.0, 160.0), "150.0 ± 14.1 over 2 episodes"),
        ((1.0, 0.0, 1.0, 1.0), "0.750 ± 0.500 over 4 episodes"),  # a success is 1
        ((-2.5, -1.5), "-2.00 ± 0.71 over 2 episodes"),
        ((0.0, 0.0), "0.0 ± 0.0 over 2 episodes"),
        ((0.0, 30.0), "15.0 ± 21.2 over 2 episodes"),
        ((0.0, 0.0, 0.0, 30.0), "7.5 ± 15.0 over 4 episodes"),  # both as the greater
    ],
)
def test_returns_of_any_size_are_told_apart(returns, text):
    assert return_text(evaluation_numbers(UNKNOWN, result(*returns))) == text


def test_the_report_is_valid_json_whatever_is_missing(tmp_path):
    record = StageRecord("abc", 5, 60.0, {"loss": math.nan})
    evaluations = {"final": evaluation_numbers(UNKNOWN, result(1.0))}
    report = build_report(
        RunFolder(tmp_path), UNKNOWN, None, SUMMARY, {"policy": record}, evaluations
    )
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_table_shows_the_figures():
    records = {
        "world_model": StageRecord("a", 2500, 312.0, {"held_out/action_r2_inverse": 0.91}),
        "policy": StageRecord(
            "b",
            1500,
            95.0,
            {"throughput/updates_per_second": 16.0, "throughput/transitions_per_second": 40960.0},
        ),
    }
    evaluations = {
        name: evaluation_numbers(SPEC, result(140.0, 160.0), step)
        for name, step in (("final", 1500), ("selected", 1400), ("best", 1250))
    }
    report = build_report(
        RunFolder(Path("runs/a")), SPEC, "tiny/line", SUMMARY, records, evaluations
    )
    console = Console(width=200, file=io.StringIO())
    print_report(report, console)
    text = console.file.getvalue()
    for expected in (
        "150.0 ± 14.1 over 2 episodes, step 1500",
        "step 1400",
        "step 1250",
        "mean 100.0, best 200.0",
        "3 labelled, 4 action-free, 1 held-out episodes; rewards on 2 of those",
        "0.910 from the inverse posterior",
        "2500 steps in 5:12 min",
        "1500 steps in 1:35 min, 16.0 updates/s, 40,960 transitions/s",
        "lawm evaluate runs/a",
        "tensorboard --logdir runs/a/tensorboard",
    ):
        assert expected in text
