from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_fit, tiny_shard

from lawm.envs.rendering import working_backend
from lawm.errors import LawmError
from lawm.fused.build import find_kernels
from lawm.fused.kernels import enable_kernels

# The tests' tensors are small, and several test processes run side by side. `lawm fit` heeds the
# variable, too: runs that are compared bit for bit must have the same number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# A shell's background jobs ignore Ctrl-C, and so would the runs that the tests stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def gl() -> str:
    """The OpenGL backend of this machine; tests that need one are skipped where there is none."""
    try:
        return working_backend()
    except LawmError as error:
        pytest.skip(str(error))


@pytest.fixture
def kernels() -> Iterator[None]:
    """The fused kernels, switched on; where nothing builds them, the test is skipped."""
    if find_kernels() is None:
        pytest.skip("no C compiler on this machine builds the kernels")
    enable_kernels(True)
    yield
    enable_kernels(True)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard that no test may change."""
    return tiny_shard(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def _finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert tiny_fit(tiny_data, folder) == 0
    return folder


@pytest.fixture
def finished_run(_finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a run of both stages."""
    return Path(shutil.copytree(_finished_run, tmp_path / "finished"))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, int, int], None]:
    """Sends this process a signal during a training step of a module."""
    import signal

    def install(module_class: type, step: int, signum: int) -> None:
        original = module_class.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                signal.raise_signal(signum)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(module_class, "training_step", training_step)

    return install
