"""`lawm bench throughput`: lawm's updates against a stock Dreamer's, in turn, in one process."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lawm.benchmarks.workloads import (
    SIZES,
    Autocast,
    Data,
    Parts,
    Step,
    autocast_of,
    lawm_policy,
    lawm_world_model,
    reference_policy,
    reference_world_model,
)
from lawm.fit_config import CompileMode
from lawm.fused.kernels import enable_kernels

WARM_UP = 4
PEAK_SIZES = (512, 1024, 2048)


@dataclass(frozen=True)
class Case:
    """One row to measure; for stage 2 ``batch`` is the start states and ``window`` the horizon."""

    stage: int
    size: str
    batch: int
    window: int
    episodes: int = 120


@dataclass(frozen=True)
class Row:
    """One measured case; times are medians of single updates, timed in turn."""

    stage: int
    size: str
    batch: int
    window: int
    device: str
    precision: str
    compile: str
    lawm_transitions_per_s: float
    reference_transitions_per_s: float
    plain_transitions_per_s: float  # lawm with compile: off
    lawm_updates_per_s: float
    lawm_updates_per_s_p90: float  # of the fastest tenth: with least disturbance by others
    ratio_to_reference: float
    ratio_to_plain: float
    matmul_peak_share: float  # of the machine's own fastest square product, measured here
    matmul_gflop_per_update: float
    matmul_peak_gflops: float
    shares: dict[str, float]  # of lawm's time by part
    dataset_transitions: int
    threads: int
    torch: str
    peak_memory_gib: float  # CUDA: of this row; CPU: of the process so far

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    case: Case,
    device: torch.device,
    precision: str = "32-true",
    mode: CompileMode = "auto",
    repeats: int = 20,
) -> Row:
    """Time lawm, lawm without its fused parts, and the reference, update by update in turn."""
    autocast = autocast_of(device, precision)
    variants = _variants(case, device, autocast)
    gflop = _matmul_gflop(variants["plain"], device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    parts = {name: Parts(device) for name in variants}
    for repeat in range(-WARM_UP, repeats):
        for name, step in variants.items():
            enable_kernels(name == "lawm" and mode == "auto")
            start = time.perf_counter()
            step(parts[name] if repeat >= 0 else Parts(device))
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    enable_kernels(True)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    best = sorted(seconds["lawm"])[: max(repeats // 10, 1)]
    transitions = case.batch * case.window
    peak = matmul_peak_gflops(device, precision)
    total = sum(parts["lawm"].seconds.values())
    return Row(
        **{k: v for k, v in asdict(case).items() if k != "episodes"},
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        precision=precision,
        compile=mode,
        lawm_transitions_per_s=transitions / median["lawm"],
        reference_transitions_per_s=transitions / median["reference"],
        plain_transitions_per_s=transitions / median["plain"],
        lawm_updates_per_s=1.0 / median["lawm"],
        lawm_updates_per_s_p90=1.0 / statistics.mean(best),
        ratio_to_reference=median["reference"] / median["lawm"],
        ratio_to_plain=median["plain"] / median["lawm"],
        matmul_peak_share=gflop / median["lawm"] / peak,
        matmul_gflop_per_update=gflop,
        matmul_peak_gflops=peak,
        shares={name: value / total for name, value in parts["lawm"].seconds.items()},
        dataset_transitions=case.episodes * 500,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        peak_memory_gib=_peak_memory_gib(device),
    )


def _variants(case: Case, device: torch.device, autocast: Autocast) -> dict[str, Step]:
    size, batch, window = SIZES[case.size], case.batch, case.window
    torch.manual_seed(0)
    if case.stage == 1:
        data = Data(case.episodes, batch, window)
        return {
            "reference": reference_world_model(size, data, device, autocast),
            "plain": lawm_world_model(size, data, device, autocast),
            "lawm": lawm_world_model(size, data, device, autocast),
        }
    data = Data(case.episodes, 2, 2)
    return {
        "reference": reference_policy(size, batch, window, device, autocast),
        "plain": lawm_policy(size, data, batch, window, device, autocast),
        "lawm": lawm_policy(size, data, batch, window, device, autocast),
    }


def _matmul_gflop(step: Step, device: torch.device) -> float:
    """Counted without the fused parts, which make the same products by other calls."""
    enable_kernels(False)
    counter = FlopCounterMode(display=False)
    with counter:
        step(Parts(device))
    return counter.get_total_flops() / 1e9


def matmul_peak_gflops(device: torch.device, precision: str) -> float:
    """The fastest square matrix product of this machine, now, with the threads that are set."""
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    fastest = 0.0
    for n in PEAK_SIZES:
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize()
            fastest = max(fastest, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return fastest


def _peak_memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


__all__ = ["Case", "Row", "matmul_peak_gflops", "measure"]
