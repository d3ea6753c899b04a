"""What the processes of one run must agree on before they can speak to each other."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from lawm.errors import LawmError
from lawm.fit_config import FitConfig
from lawm.ranks import is_rank_zero

_RUN_DIR_VARIABLE = "LAWM_RUN_DIR"  # inherited by the processes that Lightning starts


def default_run_dir(name: str) -> Path:
    """runs/NAME/DATE-TIME, the same in every process of the run; runs/NAME/slurm-JOB under SLURM.

    Args:
        name: Of the experiment.

    Raises:
        LawmError: A launcher that gives no means to agree started several processes.
    """
    runs = Path("runs") / name
    dated = runs / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if dist.is_torchelastic_launched():
        return Path(_agreed("run_dir", str(dated)))
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        job, step = (os.environ.get(f"SLURM_{key}", "0") for key in ("JOB_ID", "STEP_ID"))
        return runs / f"slurm-{job}.{step}"
    if not is_rank_zero() and _RUN_DIR_VARIABLE in os.environ:
        return Path(os.environ[_RUN_DIR_VARIABLE])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LawmError(
            "several processes were started by a launcher, and each would name its own run "
            "folder. Give --run_dir."
        )
    os.environ[_RUN_DIR_VARIABLE] = str(dated)
    return dated


def default_threads(config: FitConfig) -> int:
    """The cores of this machine, shared by its processes; OMP_NUM_THREADS wins."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = str(config.trainer["devices"])
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", devices if devices.isdigit() else "1"))
    if "SLURM_CPUS_PER_TASK" in os.environ:  # then the cores are those of this process alone
        processes = 1
    return max((cores or 1) // max(processes, 1), 1)


def _agreed(key: str, value: str) -> str:
    """The value of the first process, through the store of torchrun's agent."""
    store, rank, _ = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.distributed_c10d.PrefixStore(f"lawm/{attempt}", store)
    if rank == 0:
        store.set(key, value)
    return bytes(store.get(key)).decode()


__all__ = ["default_run_dir", "default_threads"]
