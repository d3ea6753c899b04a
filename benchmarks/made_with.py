"""What a measurement was made with: machine, commit and version."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import lawm

_CPU_INFO = Path("/proc/cpuinfo")


def commit() -> str:
    """Abbreviated commit of the checkout that lawm runs from, with ``-dirty`` after it if a tracked
    file is changed; empty where lawm is installed otherwise.
    """  # noqa: D205
    file = Path(lawm.__file__).resolve()
    # A virtual environment may lie in a checkout of something else, which does not track lawm
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return ""
    head = _git(file.parent, "rev-parse", "--short", "HEAD")
    if head is None:
        return ""
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no", ":/")
    return head + ("-dirty" if changed else "")


def machine(cuda_devices: int) -> str:
    """The GPUs if any are used, else the processor."""
    if cuda_devices:
        import torch

        return torch.cuda.get_device_name(0)
    return _processor()


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError:  # there is no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None


__all__ = ["commit", "machine"]
