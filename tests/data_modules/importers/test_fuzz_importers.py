"""A few mutated inputs of every importer in each run of the tests; many with ``-m slow``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("av")

from fuzz_importers import TARGETS

from lawm.benchmarks.fuzz import fuzz
from lawm.benchmarks.fuzz_target import FuzzTarget
from lawm.benchmarks.fuzz_worker import fault_of, mutated_input

FEW, MANY = 4, 400


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutated_inputs_end_in_success_or_a_sentence(tmp_path: Path, target: FuzzTarget) -> None:
    (tmp_path / "seeds").mkdir()
    seeds = target.make_seeds(tmp_path / "seeds")
    for index in range(FEW):
        folders = tmp_path / f"{index}", tmp_path / f"{index}-scratch"
        for folder in folders:
            folder.mkdir()
        path, done = mutated_input(target, seeds, folders[0], 0, index)
        assert fault_of(target, path, folders[1]) is None, (index, done)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_many_mutated_inputs(target: FuzzTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert str(Path(__file__).parent) in sys.path  # the harness hands it to its worker
    assert fuzz(["fuzz_importers"], target.name, inputs=MANY, seed=1, keep=None) == []
