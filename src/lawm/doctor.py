"""What this machine has and what would fail on it, found out without risking to hang.

Whatever loads drivers or foreign libraries is tried in a process of its own, all at the same time,
and killed after a while.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from lawm.doctor_probes import PROBES, probe

NEEDED_MEMORY = 1.5  # GiB; the runs of conf/cheetah.yaml peak at 1.1
NEEDED_DISK, COMFORTABLE_DISK = 0.1, 1.0  # GiB; such a run takes 0.02
GIB = 2**30
EXTRAS = {"stable_baselines3": "collect (SAC data)", "imageio_ffmpeg": "video (mp4 files)"}
SHOWN_PACKAGES = ("torch", "lightning", "jsonargparse", "numpy", "h5py", "dm_control", "mujoco")

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    level: Level  # error: `lawm fit` cannot run; warning: something else cannot, or is slower
    found: str
    fix: str = ""  # what to do, where the level is not ok


def diagnose(config: Path, run_dir: Path) -> list[Check]:
    """Look at everything.

    Args:
        config: What `lawm fit` would be given.
        run_dir: Where its run would lie.
    """
    with ThreadPoolExecutor() as pool:
        probes = {
            name: pool.submit(probe, code, *([str(config)] if name == "configuration" else []))
            for name, code in PROBES.items()
        }
        return [
            _python(),
            _packages(),
            _device(probes["device"].result()),
            _kernels(probes["kernels"].result()),
            _simulator(probes["simulator"].result()),
            _configuration(config, probes["configuration"].result()),
            _extras(),
            _rendering(probes["rendering"].result()),
            _memory(),
            _disk(run_dir),
            _threads(),
        ]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.platform()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Check("Python", "ok", found)
    return Check("Python", "error", found, "Use Python 3.11 or 3.12.")


def _packages() -> Check:
    """The versions, and whether they are those that lawm was made for."""
    try:
        requirements = [Requirement(text) for text in importlib.metadata.requires("lawm") or []]
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", "error", "lawm is not installed", "Run `pip install -e .`.")
    versions = {name: _version(name) for name in ("lawm", *SHOWN_PACKAGES)}
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    wrong = []
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name}{requirement.specifier} (found {version or 'none'})")
    if wrong:
        return Check(
            "packages", "error", found, f"Install {', '.join(wrong)}: `pip install -e .` does."
        )
    return Check("packages", "ok", found)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(outcome: tuple[dict[str, Any] | None, str]) -> Check:
    found, reason = outcome
    if found is None:
        fix = "Install a build of torch for this processor and driver, or set CUDA_VISIBLE_DEVICES="
        return Check("devices", "error", f"torch fails: {reason}", f"{fix}'' to use the CPU.")
    if found["gpus"]:
        return Check("devices", "ok", "; ".join(found["gpus"]))
    has_gpu = shutil.which("nvidia-smi") is not None
    if has_gpu and found["cuda_build"] is None:
        fix = "Install torch built for CUDA, see pytorch.org, and `make demo CONSTRAINTS=`."
        return Check("devices", "warning", "a GPU, and torch built for the CPU alone", fix)
    if has_gpu:
        fix = "See `nvidia-smi`: the driver may be too old for this build of torch."
        return Check("devices", "warning", "a GPU that torch cannot use", fix)
    apple = " (the Apple GPU is not used: it has no float64)" if found["mps"] else ""
    return Check("devices", "ok", f"CPU{apple}")


def _kernels(outcome: tuple[dict[str, Any] | None, str]) -> Check:
    found, reason = outcome
    if found is not None and found["built"]:
        bf16 = (
            "with bfloat16: --trainer.precision bf16-mixed takes two thirds of the time"
            if found["bf16"]
            else "without bfloat16: bf16-mixed is slower than float32 here"
        )
        return Check("CPU kernels", "ok", f"built and loaded, {bf16}")
    return Check(
        "CPU kernels",
        "warning",
        f"not built: {reason}" if reason else "no C compiler (cc, gcc)",
        "Training on a CPU is about 1.5 times slower. Install a C compiler (Debian: gcc), or set "
        "CC to yours.",
    )


def _simulator(outcome: tuple[dict[str, Any] | None, str]) -> Check:
    found, reason = outcome
    if found is not None:
        return Check("simulator", "ok", "dm_control/cheetah-run takes a step")
    return Check(
        "simulator",
        "error",
        f"dm_control fails: {reason}",
        "Reinstall dm_control and mujoco in the versions of constraints.txt, or train without "
        "evaluation: `--evaluation.env_id none`.",
    )


def _configuration(config: Path, outcome: tuple[dict[str, Any] | None, str]) -> Check:
    found, reason = outcome
    name = f"lawm fit --config {config}"
    if found is not None:
        episodes = f"{found['labelled']} labelled and {found['free']} action-free episodes"
        return Check(name, "ok", f"is read, with {episodes}")
    reason = reason.removeprefix("lawm.errors.LawmError: ")
    fix = "Change to the folder of the repository, or give another file with --config."
    return Check(name, "error", reason, fix)


def _extras() -> Check:
    """What is optional; its commands say themselves what they miss."""
    there = {name: importlib.util.find_spec(name) is not None for name in EXTRAS}
    found = [f"{EXTRAS[name]}{'' if is_there else ': missing'}" for name, is_there in there.items()]
    return Check("extras", "ok", ", ".join(found))


def _rendering(outcome: tuple[dict[str, Any] | None, str]) -> Check:
    found, reason = outcome
    if found is not None:
        frames = f"{found['frames']:.0f} pictures of 64 x 64 a second, a step before each"
        return Check("rendering", "ok", f"{found['backend']}, {frames}")
    return Check(
        "rendering",
        "warning",
        reason.removeprefix("lawm.errors.LawmError: "),
        "States need none; pictures do, and `lawm evaluate --video`. Unset MUJOCO_GL, or "
        "install EGL (Debian: libegl1, libgl1-mesa-dri) or OSMesa (libosmesa6).",
    )


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    available = total
    meminfo = _read("/proc/meminfo")
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) / 2**20
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():  # a container's; "max" where there is none
        used = _read("/sys/fs/cgroup/memory.current").strip()
        available = min(available, (int(limit) - int(used or 0)) / GIB)
    found = f"{available:.1f} GiB of {total:.1f} GiB available"
    if available < NEEDED_MEMORY:
        fix = f"conf/cheetah.yaml needs {NEEDED_MEMORY} GiB: end other programs, or ask for more."
        return Check("memory", "error", found, fix)
    return Check("memory", "ok", found)


def _disk(run_dir: Path) -> Check:
    folder = run_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free in {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        fix = f"Make {folder} writable, or give another --run_dir."
        return Check("disk", "error", f"{folder} cannot be written: {error.strerror}", fix)
    if free < NEEDED_DISK:
        fix = f"A run needs {NEEDED_DISK} GiB: free some space, or give another --run_dir."
        return Check("disk", "error", found, fix)
    if free < COMFORTABLE_DISK:
        return Check("disk", "warning", found, "A few runs will fill it: free some space.")
    return Check("disk", "ok", found)


def _threads() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{usable} of {os.cpu_count()} cores usable"
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = int(quota[0]) / int(quota[1])
        found += f", {cores:g} by quota"
        if cores < (usable or 1) and "OMP_NUM_THREADS" not in os.environ:
            fix = f"Give `--threads {max(int(cores), 1)}`: more threads than the quota are slower."
            return Check("threads", "warning", found, fix)
    if threads := os.environ.get("OMP_NUM_THREADS"):
        found += f", OMP_NUM_THREADS {threads}"
    return Check("threads", "ok", found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux, or an older kernel
        return ""


__all__ = ["Check", "diagnose"]
