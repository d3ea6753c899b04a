from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

PEAK = """
import resource, sys
from pathlib import Path
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.run_import import run_import
run_import(Path(sys.argv[1]), Path(sys.argv[1] + ".h5"), ImportOptions())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
OBS_DIM = 40


def write_transitions(path: Path, num: int) -> Path:
    """D4RL's arrays, in episodes of 1000."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, shape in (("observations", (OBS_DIM,)), ("actions", (4,)), ("rewards", ())):
            rows = rng.uniform(-1, 1, size=(1000, *shape)).astype(np.float32)
            made = file.create_dataset(name, (num, *shape), np.float32)
            for start in range(0, num, 1000):
                made[start : start + 1000] = rows
        file["terminals"] = np.zeros(num, np.bool_)
        file["timeouts"] = np.arange(num) % 1000 == 999
    return path


def peak_of_import(source: Path) -> int:
    """Bytes, in a process of its own."""
    command = [sys.executable, "-c", PEAK, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    small = write_transitions(tmp_path / "small.hdf5", 400_000)
    large = write_transitions(tmp_path / "large.hdf5", 1_600_000)
    growth = large.stat().st_size - small.stat().st_size
    assert growth > 200e6
    assert peak_of_import(large) - peak_of_import(small) < 0.15 * growth
