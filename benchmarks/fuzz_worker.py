"""The process that reads mutated inputs; it may crash, hang or be killed, and is watched.

It prints a JSON object a line: ``{"at": 7}`` before input 7 is made, ``{"mutations": [...]}``
before it is read, and ``{"finding": ...}`` where something went wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lawm.benchmarks.fuzz_target import FuzzTarget
from lawm.data_modules import structure_probe
from lawm.errors import LawmError

MEMORY_GROWTH = 512 * 2**20  # bytes of the peak that one small input may cost
ADDRESS_SPACE = 8 * 2**30
BUSY_SECONDS = 1.0  # for the structure of one file: inputs are small
FORBIDDEN_EVENTS = ("pickle.find_class", "subprocess.Popen", "os.system", "socket.connect")


class ForbiddenError(Exception):
    """Reading did what no reader of data should do."""


def find_target(modules: list[str], name: str) -> FuzzTarget:
    """The target of this name among ``TARGETS`` of the modules."""
    for module in modules:
        for target in importlib.import_module(module).TARGETS:
            if target.name == name:
                return target  # type: ignore[no-any-return]
    raise LawmError(f"There is no fuzz target {name!r} in {', '.join(modules)}.")


def mutated_input(
    target: FuzzTarget, seeds: list[Path], folder: Path, seed: int, index: int
) -> tuple[Path, list[str]]:
    """Make input number ``index``, a pure function of the seeds, ``seed`` and ``index``.

    Returns:
        Its path in ``folder``, and what was changed.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    source = seeds[rng.integers(len(seeds))]
    path = folder / source.name
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)
    done: list[str] = []
    chosen = sorted(rng.integers(len(target.mutations), size=int(rng.integers(1, 4))))
    for mutation in (target.mutations[number] for number in chosen):
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        file = files[rng.integers(len(files))]
        done.append(f"{file.name}: {mutation(file, rng)}")
    return path, done


def keep_input(folder: Path, keep: Path | None, name: str, index: int) -> None:
    """Copy the input that lies in a worker's folder to where findings are kept."""
    if keep is not None:
        target = keep / f"{name}-{index}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "input", target)


def peak_memory() -> int:
    """Most bytes that this process ever had in memory.

    Linux hands ``ru_maxrss`` of the parent on to what it starts, so that a large parent would hide
    what happens here; the high-water mark of the address space begins anew.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # no Linux
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fault_of(target: FuzzTarget, path: Path, scratch: Path) -> str | None:
    """Read one input; what was wrong with that, or None."""
    before = peak_memory()
    try:
        target.read(path, scratch)
    except LawmError as error:
        if len(str(error)) < 20 or str(path.name) not in str(error):
            return f"message that does not name the file: {error}"
    except BaseException:
        return traceback.format_exc()
    growth = peak_memory() - before
    return f"peak memory grew by {growth / 2**20:.0f} MiB" if growth > MEMORY_GROWTH else None


def main(argv: list[str] | None = None) -> None:
    """Read the inputs ``first`` to ``last - 1`` of one target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", nargs="+", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args(argv)

    target = find_target(args.modules, args.target)
    seed_folder, input_folder = args.folder / "seeds", args.folder / "input"
    scratch = args.folder / "scratch"
    shutil.rmtree(args.folder, ignore_errors=True)
    seed_folder.mkdir(parents=True)
    seeds = target.make_seeds(seed_folder)
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    structure_probe.BUSY_SECONDS = BUSY_SECONDS
    is_reading = False

    def forbid(event: str, values: Any) -> None:  # noqa: ANN401 (the arguments of any audit event)
        if not is_reading or event not in FORBIDDEN_EVENTS:
            return
        if event == "subprocess.Popen" and values[0] == sys.executable:
            return  # the structure of HDF5 files is gone through by a process of our own
        raise ForbiddenError(event)

    sys.addaudithook(forbid)
    for index in range(args.first, args.last):
        for folder in (input_folder, scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        print(json.dumps({"at": index}), flush=True)
        path, done = mutated_input(target, seeds, input_folder, args.seed, index)
        print(json.dumps({"mutations": done}), flush=True)
        is_reading = True
        fault = fault_of(target, path, scratch)
        is_reading = False
        if fault is not None:
            keep_input(args.folder, args.keep, args.target, index)
            print(json.dumps({"finding": fault}), flush=True)


if __name__ == "__main__":
    main()
