"""The fuzzer finds what it should find; and what it has found stays repaired."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lawm.benchmarks import fuzz
from lawm.benchmarks.fuzz_bytes import mutate_bytes
from lawm.benchmarks.fuzz_target import FuzzTarget
from lawm.benchmarks.fuzz_worker import fault_of
from lawm.data_modules import structure_probe
from lawm.errors import LawmError

HOSTILE = sorted((Path(__file__).parent / "hostile_shards").glob("*.h5"))


def make_text(folder):
    path = folder / "text.txt"
    path.write_text("ten bytes.")
    return [path]


def fails_by(kind):
    """A reader that fails on every third input in its own way."""

    def read(path, scratch):
        (scratch / "written").write_text("it may")
        content = path.read_bytes()
        if sum(content) % 3 > 0:
            raise LawmError(f"{path.name} is not what was expected here.")
        if kind == "exception":
            raise KeyError("obs")
        if kind == "crash":
            import os

            os.abort()
        if kind == "hang":
            import time

            time.sleep(1000)
        if kind == "pickle":
            import pickle

            pickle.loads(pickle.dumps(Path))
        if kind == "vague":
            raise LawmError("It does not work, whatever it is.")
        if kind == "memory":
            np.ones(700 * 2**20, np.uint8)

    return read


TARGETS = tuple(
    FuzzTarget(kind, make_text, fails_by(kind))
    for kind in ("exception", "crash", "hang", "pickle", "vague", "memory")
)
EXPECTED = {
    "exception": "KeyError",
    "crash": "the process ended with -6",
    "hang": "no answer in 4 s",
    "pickle": "pickle.find_class",
    "vague": "does not name the file",
    "memory": "peak memory grew by",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_kind_of_failure_is_found(kind, monkeypatch, tmp_path):
    if kind == "hang":
        monkeypatch.setattr(fuzz, "PATIENCE", 4.0)
    found = fuzz.fuzz(["test_fuzz"], kind, inputs=4, seed=3, keep=tmp_path)
    assert found, kind
    assert all(EXPECTED[kind] in finding.fault for finding in found)
    assert len(found) < 4  # the reading goes on behind a crash
    for finding in found:
        kept = (tmp_path / f"{kind}-{finding.index}" / "text.txt").read_bytes()
        assert sum(kept) % 3 == 0
        assert finding.mutations


def test_an_input_is_a_pure_function_of_its_number(tmp_path):
    made = []
    for _ in range(2):
        rng = np.random.default_rng(7)
        (path,) = make_text(tmp_path)
        made.append([mutate_bytes(path, rng) for _ in range(20)] + [path.read_bytes()])
    assert made[0] == made[1]


def test_shards_survive_a_short_run(tmp_path):
    out = tmp_path / "out.json"
    assert fuzz.main(["--inputs", "60", "--targets", "shard", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert (row["target"], row["inputs"], row["findings"]) == ("shard", 60, [])


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_what_was_found_stays_repaired(path, tmp_path, monkeypatch):
    monkeypatch.setattr(structure_probe, "BUSY_SECONDS", 0.5)
    (target,) = fuzz.all_targets(["lawm.benchmarks.fuzz_shards"])
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    assert fault_of(target, copy, tmp_path) is None


def test_there_are_files_from_findings():
    assert len(HOSTILE) >= 4
