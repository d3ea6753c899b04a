"""Read mutated files and folders, and see what is not answered by a sentence.

    python -m lawm.benchmarks.fuzz --inputs 100000 --keep runs/fuzz
    python -m lawm.benchmarks.fuzz --targets shard=5000 import-numpy --json fuzz.json

Every target of :data:`MODULES` is read in a process of its own, since a broken HDF5 file may take
the library and the process down: a crash and a hang are findings like an exception that is no
``LawmError``, a warning, memory that blows up, and a pickle that is loaded. Input number i is a
pure function of the seed and i, so that a finding is made again by its number.

A reader joins by a module with ``TARGETS``, a tuple of :class:`FuzzTarget`, and a line below.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lawm.benchmarks.fuzz_target import FuzzTarget
from lawm.benchmarks.fuzz_worker import keep_input

MODULES = ("lawm.benchmarks.fuzz_shards",)
PATIENCE = 60.0  # seconds for one input
START_PATIENCE = 300.0  # for the process to start and to make its valid inputs
PROGRESS_SECONDS = 60.0
STARTED_WITHOUT_READING = -1


@dataclass(frozen=True)
class Finding:
    """An input that was not answered as it should be."""

    target: str
    index: int
    mutations: list[str]
    fault: str


def fuzz(
    modules: list[str],
    name: str,
    *,
    inputs: int,
    seed: int,
    keep: Path | None,
    first: int = 0,
    patience: float | None = None,
) -> list[Finding]:
    """Read ``inputs`` mutated inputs of one target.

    Args:
        modules: Where targets are looked for.
        name: Of the target.
        inputs: How many.
        seed: Of the mutations.
        keep: Where the inputs of findings are copied to; None keeps nothing.
        first: The number of the first input.
        patience: Seconds for one input, :data:`PATIENCE` by default; more on a busy machine.
    """
    patience = PATIENCE if patience is None else patience
    findings: list[Finding] = []
    last = first + inputs
    told = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lawm-fuzz-") as name_of_folder:
        folder = Path(name_of_folder)
        while first < last:
            at, mutations, end = STARTED_WITHOUT_READING, list[str](), None
            for message in _run(modules, name, seed, first, last, folder, keep, patience):
                if "at" in message:
                    at, mutations = message["at"], []
                    if time.monotonic() - told > PROGRESS_SECONDS:
                        told = time.monotonic()
                        print(f"{name}: at input {at}, to {last}", flush=True)
                elif "mutations" in message:
                    mutations = message["mutations"]
                elif "finding" in message:
                    findings.append(Finding(name, at, mutations, message["finding"]))
                    _tell(findings[-1])
                elif "end" in message:
                    end = message["end"]
            if end is None:
                break
            if at == STARTED_WITHOUT_READING:
                raise RuntimeError(f"The fuzz target {name} does not start: {end}")
            findings.append(Finding(name, at, mutations, end))
            _tell(findings[-1])
            keep_input(folder, keep, name, at)
            first = at + 1
    return findings


def _run(
    modules: list[str],
    name: str,
    seed: int,
    first: int,
    last: int,
    folder: Path,
    keep: Path | None,
    patience: float,
) -> Iterator[dict[str, Any]]:
    """The messages of one worker; where it did not end by itself the last one says why."""
    command = [sys.executable, "-m", "lawm.benchmarks.fuzz_worker", "--modules", *modules]
    command += ["--target", name, "--seed", str(seed), "--folder", str(folder)]
    command += ["--first", str(first), "--last", str(last)]
    command += ["--keep", str(keep)] if keep is not None else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as worker,
    ):
        lines: queue.Queue[str | None] = queue.Queue()

        def pump() -> None:
            assert worker.stdout is not None
            for line in worker.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, daemon=True).start()
        wait = max(patience, START_PATIENCE)
        try:
            while (line := lines.get(timeout=wait)) is not None:
                wait = patience
                yield json.loads(line)
        except queue.Empty:
            worker.kill()
            yield {"end": f"no answer in {wait:.0f} s"}
            return
        if worker.wait() != 0:
            errors.seek(0)
            yield {"end": f"the process ended with {worker.returncode}: {errors.read()[-2000:]}"}


def _tell(finding: Finding) -> None:
    print(f"{finding.target} {finding.index} ({'; '.join(finding.mutations)}):", flush=True)
    print(f"  {finding.fault.strip()[-1500:]}".encode("ascii", "backslashreplace").decode())


def all_targets(modules: list[str]) -> list[FuzzTarget]:
    """The targets of the modules, in their order."""
    return [target for module in modules for target in importlib.import_module(module).TARGETS]


def main(argv: list[str] | None = None) -> int:
    """Fuzz the targets one after the other; 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m lawm.benchmarks.fuzz", description=__doc__)
    add = parser.add_argument
    add("--inputs", type=int, default=1000, help="mutated inputs a target (%(default)s)")
    add(
        "--targets",
        nargs="+",
        metavar="NAME[=INPUTS]",
        type=lambda text: text.partition("=")[::2],
        help="which, and how many inputs of each; default all",
    )
    add("--modules", nargs="+", default=list(MODULES), help="where targets are looked for")
    add("--seed", type=int, default=0, help="of the mutations (%(default)s)")
    add("--first", type=int, default=0, help="number of the first input (%(default)s)")
    add("--keep", type=Path, metavar="FOLDER", help="keep the inputs of findings here")
    add("--json", type=Path, metavar="FILE", help="write the outcome here, target by target")
    add("--patience", type=float, metavar="S", help=f"seconds for one input ({PATIENCE:.0f})")
    args = parser.parse_args(argv)
    numbers = dict(args.targets or ())
    known = [target.name for target in all_targets(args.modules)]
    if unknown := numbers.keys() - set(known):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {known}")
    rows: list[dict[str, Any]] = []
    for name in numbers or known:
        inputs = int(numbers.get(name) or args.inputs)
        start = time.perf_counter()
        findings = fuzz(
            args.modules,
            name,
            inputs=inputs,
            seed=args.seed,
            keep=args.keep,
            first=args.first,
            patience=args.patience,
        )
        seconds = time.perf_counter() - start
        print(f"{name}: {inputs} inputs, {len(findings)} findings, {seconds:.0f} s", flush=True)
        rows.append(
            {
                "target": name,
                "inputs": inputs,
                "first": args.first,
                "seed": args.seed,
                "seconds": round(seconds, 1),
                "findings": [asdict(finding) for finding in findings],
            }
        )
        if args.json is not None:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if any(row["findings"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
