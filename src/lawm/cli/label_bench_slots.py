"""Where the runs of `lawm bench labels` go: from its options and this machine to slots."""

from __future__ import annotations

import os

import torch

from lawm.benchmarks.grid_runner import Slot, make_slots
from lawm.errors import LawmError


def read_jobs(text: str) -> int | None:
    """Runs at a time; None for ``auto``.

    Raises:
        LawmError: It is neither.
    """
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise LawmError(f"--jobs is {text}; expected a number from 1, or auto.")
    return int(text)


def find_slots(jobs: int | None, threads: int | None, *, uses_cuda: bool) -> list[Slot]:
    """As many as are asked for, or as this machine can bear.

    Args:
        jobs: Runs at a time; None decides by GPUs and cores.
        threads: CPU threads of each; None decides.
        uses_cuda: Whether the runs would take a GPU where there is one.

    Raises:
        LawmError: There are not as many cores.
    """
    gpus = _gpus() if uses_cuda else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    if threads is not None and not 1 <= threads <= cores:
        raise LawmError(
            f"--threads is {threads}, but this process may use {cores} core(s); expected a number "
            f"from 1 to {cores}."
        )
    wanted = (jobs or 1) * (threads or 1)
    if not gpus and wanted > cores:
        raise LawmError(
            f"--jobs {jobs} with {threads or 1} thread(s) each needs {wanted} cores, but this "
            f"process may use {cores}; there is no free core for the others. Give fewer, or "
            "--jobs auto."
        )
    return make_slots(jobs, threads, gpus, cores)


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


__all__ = ["find_slots", "read_jobs"]
