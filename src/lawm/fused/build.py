"""Builds ``kernels.c`` with the machine's C compiler and loads it; without one there is no library.

The library is kept in ``$XDG_CACHE_HOME/lawm`` (default ``~/.cache/lawm``) under a name made of the
source, the compiler and the processor, so that it is built once for each of them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

# strict IEEE semantics of NaN stay on: a diverging run must show NaN, not a number
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
TUNINGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-fopenmp-simd",), ())
FLOAT_BYTES = 4
ENTRY_POINTS = {
    "lawm_norm_silu_forward": (None, 4, 1, 6),
    "lawm_norm_silu_backward": (ctypes.c_int, 3, 0, 7),
    "lawm_gru_forward": (None, 5, 1, 6),
    "lawm_gru_backward": (ctypes.c_int, 6, 0, 9),
    "lawm_softplus_forward": (None, 2, 0, 2),
    "lawm_softplus_backward": (None, 2, 0, 3),
    "lawm_gaussian_forward": (None, 3, 1, 3),
    "lawm_gaussian_backward": (None, 3, 0, 4),
}  # name -> result, and how many integers, floats and pointers it takes, in this order


class _CompilerError(Exception):
    """What the compiler said."""


@lru_cache(maxsize=1)
def find_kernels() -> ctypes.CDLL | None:
    """The kernels; None where there is no C compiler, and with a warning where it fails."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None
    source = files("lawm.fused").joinpath("kernels.c").read_bytes()
    try:
        try:
            return _from_cache(compiler, source)
        except (OSError, RuntimeError):  # no home, or a folder that takes no files or runs no code
            with tempfile.TemporaryDirectory() as folder:
                return _load(_compile(compiler, source, Path(folder)))
    except (OSError, _CompilerError) as error:
        warnings.warn(
            f"lawm runs on plain PyTorch, about 1.5 times slower, as its CPU kernels could not be "
            f"built: {error}. Set compile: off to choose this without a warning.",
            stacklevel=2,
        )
        return None


def _from_cache(compiler: str, source: bytes) -> ctypes.CDLL:
    """Load what was built before, or build it and keep it; a damaged file is built anew."""
    target = cache_folder() / f"kernels-{_build_key(source, compiler)}.so"
    checksum = target.with_suffix(".sha256")
    if not (target.is_file() and checksum.is_file() and _sha256(target) == checksum.read_text()):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = _compile(compiler, source, Path(folder))
            written = built.with_suffix(".sha256")
            written.write_text(_sha256(built))
            built.replace(target)  # whole or not at all, whoever else is building
            written.replace(checksum)
    return _load(target)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def loaded_kernels() -> ctypes.CDLL:
    """The kernels, where :func:`find_kernels` was found to have them."""
    kernels = find_kernels()
    assert kernels is not None
    return kernels


def check_status(status: int) -> None:
    """Raise for what a kernel returned.

    Raises:
        MemoryError: It is not 0.
    """
    if status != 0:
        raise MemoryError("lawm's CPU kernels could not allocate their working memory.")


def cache_folder() -> Path:
    """Where built libraries lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lawm"


def _build_key(source: bytes, compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    key = hashlib.sha256(source + version + repr((FLAGS, TUNINGS, platform.machine())).encode())
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # a home folder may be shared by machines with other processors
        lines = cpuinfo.read_text().splitlines()
        key.update("".join(sorted({s for s in lines if s.startswith(("flags", "Feat"))})).encode())
    return key.hexdigest()[:16]


def _compile(compiler: str, source: bytes, folder: Path) -> Path:
    """Compile with the first tuning that works."""
    source_file, built = folder / "kernels.c", folder / "kernels.so"
    source_file.write_bytes(source)
    for tuning in TUNINGS:
        command = [compiler, *FLAGS, *tuning, "-shared", "-fPIC", str(source_file)]
        done = subprocess.run(
            [*command, "-o", str(built), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return built
    lines = done.stderr.strip().splitlines() or ["no message"]
    raise _CompilerError(f"{compiler} said: {lines[-1]}")


def _load(path: Path) -> ctypes.CDLL:
    kernels = ctypes.CDLL(str(path))
    for name, (result, integers, floats, pointers) in ENTRY_POINTS.items():
        function = getattr(kernels, name)
        function.restype = result
        function.argtypes = (
            [ctypes.c_int64] * integers + [ctypes.c_float] * floats + [ctypes.c_void_p] * pointers
        )
    return kernels


__all__ = ["FLOAT_BYTES", "cache_folder", "check_status", "find_kernels", "loaded_kernels"]
