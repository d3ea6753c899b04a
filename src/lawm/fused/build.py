"""Builds the C sources in ``csrc`` with the machine's C compiler and loads them as one library.

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
TUNINGS = (
    # gcc by itself takes 256 bits: 2 to 4 % of an update on an AMD EPYC
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-march=native", "-fopenmp"),
    ("-march=native",),
    ("-fopenmp-simd",),
    (),
)
_SIZE, _STATUS, _POINTER = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
_REAL = ctypes.c_double
# of these forward and backward take a structure
STRUCTURED = ("mlp", "observe", "imagine", "gaussian_kl", "gaussian_nll", "norm_silu")
ENTRY_POINTS = {
    "lawm_has_bf16": (_STATUS, []),
    "lawm_packed_size": (_SIZE, [_SIZE] * 2),
    "lawm_dropout": (_STATUS, [_POINTER]),
    "lawm_dropout_size": (_SIZE, []),
    "lawm_clip_gradients": (_STATUS, [_SIZE] * 2 + [_POINTER, _REAL, _POINTER]),
    "lawm_adamw": (None, [_SIZE] * 2 + [_POINTER] + [_REAL] * 5),
    "lawm_softplus_forward": (None, [_SIZE] * 2 + [_POINTER] * 2),
    "lawm_softplus_backward": (None, [_SIZE] * 2 + [_POINTER] * 3),
    **{
        f"lawm_{loop}_{direction}": (_STATUS, [_POINTER])
        for loop in STRUCTURED
        for direction in ("forward", "backward")
    },
    **{f"lawm_{loop}_size": (_SIZE, []) for loop in STRUCTURED},
}  # name -> result, arguments
BF16_ENTRY_POINTS = {
    "lawm_weight_gradient_bf16": (_STATUS, [_SIZE] * 4 + [_POINTER, _SIZE] * 3),
}


class _CompilerError(Exception):
    """What the compiler said."""


@lru_cache(maxsize=1)
def find_kernels() -> ctypes.CDLL | None:
    """The kernels; None where there is no C compiler, and with a warning where it fails."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None
    folder = files("lawm.fused").joinpath("csrc")
    sources = {file.name: file.read_bytes() for file in folder.iterdir()}
    try:
        try:
            return _from_cache(compiler, sources)
        except (OSError, RuntimeError):  # no home, or a folder that takes no files or runs no code
            with tempfile.TemporaryDirectory() as temporary:
                return _load(_compile(compiler, sources, Path(temporary)))
    except (OSError, _CompilerError) as error:
        warnings.warn(
            f"lawm runs on plain PyTorch, about 1.5 times slower, as its CPU kernels could not be "
            f"built: {error}. Set compile: off to choose this without a warning.",
            stacklevel=2,
        )
        return None


def _from_cache(compiler: str, sources: dict[str, bytes]) -> ctypes.CDLL:
    """Load what was built before, or build it and keep it; a damaged file is built anew."""
    target = cache_folder() / f"kernels-{_build_key(sources, compiler)}.so"
    checksum = target.with_suffix(".sha256")
    if not (target.is_file() and checksum.is_file() and _sha256(target) == checksum.read_text()):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = _compile(compiler, sources, Path(folder))
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


def cache_folder() -> Path:
    """Where built libraries lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lawm"


def _build_key(sources: dict[str, bytes], compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    parts = sorted(sources.items()), version, FLAGS, TUNINGS, platform.machine()
    key = hashlib.sha256(repr(parts).encode())
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # a home folder may be shared by machines with other processors
        lines = cpuinfo.read_text().splitlines()
        key.update("".join(sorted({s for s in lines if s.startswith(("flags", "Feat"))})).encode())
    return key.hexdigest()[:16]


def _compile(compiler: str, sources: dict[str, bytes], folder: Path) -> Path:
    """Compile with the first tuning that works."""
    built = folder / "kernels.so"
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    units = [str(folder / name) for name in sorted(sources) if name.endswith(".c")]
    for tuning in TUNINGS:
        command = [compiler, *FLAGS, *tuning, "-shared", "-fPIC", *units]
        done = subprocess.run(
            [*command, "-o", str(built), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return built
    lines = done.stderr.strip().splitlines() or ["no message"]
    raise _CompilerError(f"{compiler} said: {lines[-1]}")


def _load(path: Path) -> ctypes.CDLL:
    kernels = ctypes.CDLL(str(path))
    entry_points = ENTRY_POINTS | (BF16_ENTRY_POINTS if kernels.lawm_has_bf16() else {})
    for name, (result, arguments) in entry_points.items():
        function = getattr(kernels, name)
        function.restype, function.argtypes = result, arguments
    return kernels


__all__ = ["cache_folder", "find_kernels", "loaded_kernels"]
