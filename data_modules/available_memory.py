"""How much memory this process may still take, containers included."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60  # version 1 writes a number near 2**63 where there is none


def available_memory(cgroups: Path = CGROUPS, proc: Path = Path("/proc")) -> int:
    """Bytes: the least of what the machine has free and what each enclosing cgroup leaves.

    Pages of files that a cgroup holds count as free, since the kernel gives them up.

    Args:
        cgroups: Where the cgroup file system is mounted.
        proc: Where the process file system is mounted.
    """
    limits = [_machine(proc), *_cgroup_limits(cgroups, proc)]
    return max(0, min(limits))


def _machine(proc: Path) -> int:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS


def _cgroup_limits(cgroups: Path, proc: Path) -> list[int]:
    """What is left in each cgroup around this process, of version 2 (or 1, or none)."""
    found: list[int] = []
    for line in _read(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        # In a container the path is often not mounted: then the root is the container's own
        folders = [folder, *folder.parents] if folder.exists() else [root]
        for place in folders:
            if (left := _left(place, *names)) is not None:
                found.append(left)
            if place == root:
                break
    return found


def _left(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    limit, usage = _read(folder / limit_name).strip(), _read(folder / usage_name).strip()
    if not limit.isdigit() or not usage.isdigit() or int(limit) >= NO_LIMIT:
        return None
    cache = 0
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == cache_name:
            cache = int(value)
    return int(limit) - int(usage) + cache


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


__all__ = ["available_memory"]
