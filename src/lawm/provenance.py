"""What a run was started with: command, versions, commit, machine and data.

``provenance.json`` of a run folder holds it from the first second on, so that a run that never
ended can be told apart and repeated, too.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import lawm
from lawm.atomic_write import write_atomically

PACKAGES = ("torch", "lightning", "numpy", "dm_control", "mujoco")
_GIT_SECONDS = 5.0


def this_process(arguments: Sequence[str]) -> dict[str, Any]:
    """How this process was started, and what it runs on.

    Args:
        arguments: What followed `lawm` on the command line.
    """
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["lawm", *arguments]),
        "working_folder": str(Path.cwd()),
        "lawm": lawm.__version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "machine": machine(),
        "threads": torch.get_num_threads(),
    }


def record_start(
    path: Path, start: Mapping[str, Any], data_summary: Mapping[str, int | float | str]
) -> None:
    """Add a start of the run, the first or a resume, to the file.

    Args:
        path: ``provenance.json``. What is not one is replaced: no record stops a training.
        start: From :func:`this_process`.
        data_summary: Key figures of the data.
    """
    starts: list[Any] = []
    try:
        earlier = json.loads(path.read_text())["starts"]
        starts = earlier if isinstance(earlier, list) else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # the first start, or nothing that could be kept
    data = {key: None if _is_nan(value) else value for key, value in data_summary.items()}
    content = {"starts": [*starts, dict(start)], "data": data}
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def source_commit() -> str:
    """Short commit of the checkout that lawm runs from, "-dirty" if tracked files were changed.

    Empty where lawm was installed from a package, or git does not answer.
    """
    file = Path(lawm.__file__).resolve()
    # A virtual environment may lie in a checkout of something else, which does not track lawm
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return ""
    commit = _git(file.parent, "rev-parse", "--short", "HEAD")
    if not commit:
        return ""
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no", ":/")
    return f"{commit}-dirty" if changed else commit


def machine() -> dict[str, Any]:
    """Name, system, processor and devices."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": gpus,
    }


def _processor() -> str:
    """As Linux calls it; elsewhere the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


__all__ = ["machine", "record_start", "source_commit", "this_process"]
