"""Updates and transitions per second of both stages, and where the time goes.

    python benchmarks/throughput.py --threads 2 --batch-size 16 32 64
    python benchmarks/throughput.py --profile

The sizes are those of conf/walker.yaml (24-d states, 6-d actions, deter 192, Gaussian stoch 24,
hidden 192, windows of 32; stage 2: 256 starts, horizon 10) and the data are random numbers, so
that nothing but the learner is timed. Every row gives the wall-clock figure, the one per second
of CPU time of all threads, and the share of wall time by part. Medians over the repeats, after
warm-up. Run on a quiet machine; quote the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile

from lawm.batch import Batch
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.spec import DataSpec, ObservationSpec
from lawm.world_model import WorldModelConfig
from lawm.world_model_loss import weighted_sum, world_model_terms
from lawm.world_model_module import WorldModelModule

OBS_DIM, ACTION_DIM = 24, 6
Step = Callable[["Parts"], None]


class Parts:
    """Wall time of the named parts of an update."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def make_spec() -> DataSpec:
    """The shapes of walker-walk."""
    state = ObservationSpec((OBS_DIM,), "state", (0.0,) * OBS_DIM, (1.0,) * OBS_DIM)
    return DataSpec({"state": state}, (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM, terminates=False)


def world_model_step(module: WorldModelModule, batch: Batch) -> Step:
    """One update of stage 1, as Lightning's loop makes it."""
    optimizer = module.configure_optimizers()["optimizer"]

    def step(parts: Parts) -> None:
        with parts.part("observe"):
            observed = module.model.observe(batch)
        with parts.part("heads and losses"):
            labelled, free = world_model_terms(module.model, batch, observed, module.options)
            beta = module.rate_control.beta()
            loss = weighted_sum(labelled, module.coefficients, beta)
            loss = loss + weighted_sum(free, module.coefficients, beta)
        with parts.part("backward"):
            optimizer.zero_grad()
            loss.backward()
        with parts.part("clip and optimiser"):
            torch.nn.utils.clip_grad_norm_(module.parameters(), 100.0)
            optimizer.step()

    return step


def policy_step(module: LatentPolicyModule, start: ModelState) -> Step:
    """One update of stage 2."""
    optimizer = module.configure_optimizers()["optimizer"]

    def step(parts: Parts) -> None:
        with parts.part("imagine and losses"):
            loss, _ = module.compute_loss(start)
        with parts.part("backward"):
            optimizer.zero_grad()
            loss.backward()
        with parts.part("clip, optimiser, target"):
            module.configure_gradient_clipping(optimizer)
            optimizer.step()
            module.update_target()

    return step


def measure(name: str, step: Step, transitions: int, repeats: int) -> None:
    """Print one row."""
    for _ in range(3):
        step(Parts())
    walls, cpus, parts = [], [], Parts()
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        step(parts)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    shares = "  ".join(f"{k} {v / sum(walls):.0%}" for k, v in parts.seconds.items())
    print(
        f"{name:<24} {1 / wall:7.1f} updates/s {transitions / wall:9.0f} transitions/s "
        f"{transitions / cpu:9.0f} per CPU-second   {shares}"
    )


def main() -> None:
    """Time both stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="operators by their own time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    module = WorldModelModule(make_spec(), WorldModelConfig())
    size = sum(p.numel() for p in module.model.parameters())
    print(f"{args.threads} threads, torch {torch.__version__}, {size:,} parameters")
    steps: dict[str, tuple[Step, int]] = {}
    for rows in args.batch_size:
        batch = Batch(
            obs={"state": torch.randn(rows, args.window + 1, OBS_DIM)},
            action=torch.rand(rows // 2, args.window, ACTION_DIM) * 2 - 1,
            reward=torch.rand(rows, args.window),
            terminated=torch.zeros(rows, args.window),
            has_reward=torch.arange(rows) < rows // 2,
        )
        name = f"stage 1, {rows} x {args.window}"
        steps[name] = world_model_step(module, batch), rows * args.window
    rssm = module.model.rssm
    start = ModelState(torch.randn(256, rssm.deter), torch.randn(256, rssm.latent.size))
    policy = LatentPolicyModule(WorldModelModule(make_spec()).model, make_spec(), horizon=10)
    steps["stage 2, 256 x 10"] = policy_step(policy, start), 2560
    for name, (step, transitions) in steps.items():
        if args.profile:
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                for _ in range(args.repeats):
                    step(Parts())
            averages = profiler.key_averages()
            print(name)
            print(averages.table("self_cpu_time_total", row_limit=15, max_name_column_width=40))
        else:
            measure(name, step, transitions, args.repeats)


if __name__ == "__main__":
    main()
