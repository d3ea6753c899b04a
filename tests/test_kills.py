"""Short versions of the kill test; `make kill-test` runs it at length."""

from __future__ import annotations

import pytest
from kill_harness import Harness

from lawm.callbacks.random_stream import RandomStream
from lawm.run_loggers import MetricsCSV
from lawm.running_means import RunningMeans


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_runs_equal_one_that_nobody_touched(processes, tmp_path):
    harness = Harness(tmp_path, processes)
    assert harness.kill_until(6, harness.make_reference()) == []
    assert harness.kills >= 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "method", "place"),
    [
        (RandomStream, "on_load_checkpoint", "state_dict"),
        (RunningMeans, "on_load_checkpoint", "metrics.csv"),
        (MetricsCSV, "save", "metrics.csv"),
    ],
)
def test_the_harness_sees_what_is_not_restored(broken, method, place, tmp_path, monkeypatch):
    harness = Harness(tmp_path)
    seconds = harness.make_reference()
    monkeypatch.setattr(broken, method, lambda *args: None)
    different = harness.kill_until(40, seconds)
    assert any(place in line for line in different)
