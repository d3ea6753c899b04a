"""The fused kernels are built where that can be done, and done without elsewhere."""

from __future__ import annotations

import pytest
from model_factory import SMALL, make_batch, make_spec

from lawm.fused import build
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule

pytestmark = pytest.mark.usefixtures("kernels")


def test_without_a_compiler_plain_pytorch_is_used(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is None
        loss, _ = WorldModelModule(make_spec(), WorldModelConfig(**SMALL)).compute_loss(
            make_batch()
        )
        assert loss.isfinite()
    finally:
        build.find_kernels.cache_clear()


def test_a_compiler_that_fails_costs_a_warning(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'fatal error: no assembler' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.find_kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match="on plain PyTorch.*no assembler.*compile: off"):
            assert build.find_kernels() is None
        assert not list((tmp_path / "cache" / "lawm").iterdir())
    finally:
        build.find_kernels.cache_clear()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder is wanted")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is not None
    finally:
        build.find_kernels.cache_clear()


@pytest.mark.slow
def test_a_damaged_library_in_the_cache_is_built_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.find_kernels.cache_clear()
    try:
        assert build.find_kernels() is not None
        (file,) = (tmp_path / "lawm").glob("*.so")
        whole = file.read_bytes()
        file.unlink()  # the loaded file itself must not change
        file.write_bytes(whole[: len(whole) // 3])
        build.find_kernels.cache_clear()
        assert build.find_kernels() is not None
        assert file.stat().st_size > len(whole) // 2
    finally:
        build.find_kernels.cache_clear()
