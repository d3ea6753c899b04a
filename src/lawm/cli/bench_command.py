"""`lawm bench`; here the part for speed."""

from __future__ import annotations

import argparse
import itertools

import torch
from rich.console import Console
from rich.table import Table

from lawm.acceleration import keep_freed_memory
from lawm.benchmarks.lightning_overhead import measure_overhead
from lawm.benchmarks.throughput import Case, Row, measure
from lawm.cli.json_file import check_json_path, write_json
from lawm.errors import LawmError
from lawm.third_party_noise import silence_third_party_noise

CAPTION = (
    "B x T: windows or start states x steps. lawm, off (compile: off), ref (stock Dreamer): "
    "transitions/s. peak: share of the matrix product peak."
)


def run_bench(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        LawmError: Something is wrong with what the user gave.
    """
    if args.kind == "labels":
        from lawm.cli.label_bench_command import run_label_bench

        return run_label_bench(args)
    return run_throughput(args)


def run_throughput(args: argparse.Namespace) -> int:
    """Run `lawm bench throughput`.

    Raises:
        LawmError: A count below 1, a device that is not there, or a file that is in the way.
    """
    _check(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()
    silence_third_party_noise()
    cuda = args.device == "cuda" or (args.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    console, rows = Console(), []
    for case in cases(args):
        console.print(f"stage {case.stage}, {case.size}, {case.batch} x {case.window} …")
        rows.append(measure(case, device, args.precision, args.compile, args.repeats))
    console.print(table(rows))
    if args.lightning:
        overhead = measure_overhead(args.precision)
        console.print(
            f"Lightning, {args.precision}, stage 1 small, 16 x 32 on the CPU: "
            f"{1e3 * overhead.lightning:.1f} ms an update, bare loop {1e3 * overhead.bare:.1f} ms: "
            f"{overhead.share:.0%} of a step."
        )
    if args.json:
        write_json(args.json, [row.to_dict() for row in rows])
    return 0


def cases(args: argparse.Namespace) -> list[Case]:
    """What the options ask for."""
    found = []
    for size, episodes in itertools.product(args.sizes, args.episodes):
        if 1 in args.stages:
            pairs = itertools.product(args.batch_sizes, args.windows)
            found += [Case(1, size, batch, window, episodes) for batch, window in pairs]
        if 2 in args.stages:
            pairs = itertools.product(args.starts, args.horizons)
            found += [Case(2, size, starts, horizon, episodes) for starts, horizon in pairs]
    return found


def table(rows: list[Row]) -> Table:
    """The key figures."""
    first = rows[0]
    title = f"{first.device}, {first.threads} threads, {first.precision}, torch {first.torch}"
    out = Table(title=title, caption=CAPTION)
    out.add_column("stage")
    names = ("B x T", "lawm", "off", "ref", "upd/s", "x ref", "x off", "peak")
    for name in names:
        out.add_column(name, justify="right")
    for row in rows:
        out.add_row(
            f"{row.stage} {row.size}",
            f"{row.batch} x {row.window}",
            f"{row.lawm_transitions_per_s:,.0f}",
            f"{row.plain_transitions_per_s:,.0f}",
            f"{row.reference_transitions_per_s:,.0f}",
            f"{row.lawm_updates_per_s:.1f}",
            f"{row.ratio_to_reference:.2f}",
            f"{row.ratio_to_plain:.2f}",
            f"{row.matmul_peak_share:.0%}",
        )
    return out


def _check(args: argparse.Namespace) -> None:
    for name in ("batch_sizes", "windows", "starts", "horizons", "episodes"):
        if min(getattr(args, name)) < 1:
            raise LawmError(f"--{name} is {getattr(args, name)}; expected numbers from 1.")
    if args.threads is not None and args.threads < 1:
        raise LawmError(f"--threads is {args.threads}; expected a number from 1.")
    if args.repeats < 1:
        raise LawmError(f"--repeats is {args.repeats}; expected a number from 1.")
    if 1 in args.stages and min(args.batch_sizes) < 2:
        raise LawmError(
            f"--batch_sizes is {args.batch_sizes}; half of a batch is labelled, so expected "
            "numbers from 2."
        )
    if min(args.episodes) < 20:
        raise LawmError(
            f"--episodes is {args.episodes}; a tenth is labelled, so expected numbers from 20."
        )
    if args.device == "cuda" and not torch.cuda.is_available():
        raise LawmError("--device is cuda, but torch finds no CUDA device here; use cpu or auto.")
    if args.json:
        check_json_path(args.json)


__all__ = ["cases", "run_bench", "run_throughput", "table"]
