"""Kills a `lawm fit` at random moments and resumes it, until it must have broken.

    make kill-test KILLS=100

A small run of both stages is killed with SIGKILL and resumed until it ends; then its weights,
optimiser states, random states and tables must equal those of a run that nobody touched. A third
of the kills comes at a random time, a third soon after stage 1 has ended, and a third at a random
file operation: in the middle of writing a checkpoint, before it is synced, before or after a
rename. With the next run it starts anew, until there were as many kills as asked for. The first
difference ends it with exit code 1.

Stopped itself, it goes on where it was if it is given the same folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

from killed_run import attempt, die_at_operation
from run_comparison import run_differences
from tiny_runs import fit_arguments, tiny_shard

from lawm.atomic_write import write_atomically
from lawm.run_folder import RunFolder

# No interval divides another: checkpoints fall between log rows, validations and evaluations
SETTINGS = (
    *("--stages.world_model.max_steps", "22", "--stages.world_model.checkpoint_every_n_steps", "3"),
    *("--stages.world_model.val_check_interval", "4", "--stages.policy.max_steps", "13"),
    *("--stages.policy.checkpoint_every_n_steps", "3", "--evaluation.every_n_steps", "4"),
    *("--data.labelled_ratio", "0.3", "--world_model.rate.control", "target", "--threads", "1"),
)
MOST_OPERATIONS = 90  # rather fewer than a whole run has


class Harness:
    """Runs, kills, compares.

    Args:
        folder: For data, runs and the count of kills so far.
        processes: Of each run.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, processes: int = 1, seed: int = 0) -> None:
        self.folder, self.processes, self.seed = folder, processes, seed
        self.kills = self.runs = self.attempts = 0
        self.by_place: Counter[str] = Counter()
        self._state_file = folder / "state.json"
        folder.mkdir(parents=True, exist_ok=True)
        if self._state_file.is_file():
            state = json.loads(self._state_file.read_text())
            self.kills, self.runs, self.attempts = (state[k] for k in ("kills", "runs", "attempts"))
            self.by_place = Counter(state["by_place"])
        self._shard = folder / "tiny.h5"
        if not self._shard.is_file():
            tiny_shard(folder)

    @property
    def reference(self) -> Path:
        """The run that nobody touches."""
        return self.folder / "reference"

    def make_reference(self) -> float:
        """Train it; returns the seconds that it takes."""
        shutil.rmtree(self.reference, ignore_errors=True)
        began = time.monotonic()
        code = self._attempt(self.reference)
        assert code == 0, f"the run that nobody touched ended with {code}, see {self._log}"
        return time.monotonic() - began

    def kill_until(self, kills: int, seconds: float) -> list[str]:
        """Go on until there were so many kills.

        Args:
            kills: All in all.
            seconds: The length of a run, over which the moments are spread.

        Returns:
            What was different; empty if all was well.
        """
        while self.kills < kills:
            run = self.folder / "killed"
            generator = random.Random(f"{self.seed} {self.attempts}")
            self.attempts += 1
            how = generator.choice(("at a random time", "while writing a file", "early in stage 2"))
            if how == "while writing a file":
                number = generator.randint(1, MOST_OPERATIONS)
                code = self._attempt(run, in_child=lambda n=number: die_at_operation(n))
            elif how == "at a random time":
                code = self._attempt(run, kill_after=generator.uniform(0.0, seconds))
            else:
                stage_1_ended = RunFolder(run).stage("world_model").done_marker
                later = generator.uniform(0.0, seconds / 3)
                code = self._attempt(run, kill_after=later, counted_from=stage_1_ended)
            if code == -signal.SIGKILL:
                self.kills += 1
                self.by_place[f"{_place(run)}, {how}"] += 1
            elif code:
                return [f"a resumed run ended with {code}, see {self._log}"]
            else:
                if different := run_differences(self.reference, run):
                    return different
                self.runs += 1
                shutil.rmtree(run)
                self._log.unlink()
                print(self.summary(), flush=True)
            self._save()
        return []

    def summary(self) -> str:
        """One line."""
        places = ", ".join(f"{count} {place}" for place, count in sorted(self.by_place.items()))
        return f"{self.kills} kills ({places}); {self.runs} whole runs equal to the reference"

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _attempt(self, run: Path, **how: object) -> int:
        if RunFolder(run).config_file.is_file():
            arguments = ["fit", "--resume", str(run)]
        else:
            arguments = fit_arguments(self._shard, run, *SETTINGS)
            arguments += ["--trainer.devices", str(self.processes)]
        return attempt(arguments, self._log, self.processes, **how)

    def _save(self) -> None:
        state = {key: getattr(self, key) for key in ("kills", "runs", "attempts", "by_place")}
        write_atomically(self._state_file, json.dumps(state))


def _place(run: Path) -> str:
    """How far the run had come."""
    folder = RunFolder(run)
    world_model, policy = folder.stage("world_model"), folder.stage("policy")
    if policy.done_marker.is_file():
        return "after stage 2"
    if policy.has_checkpoint():
        return "in stage 2"
    if world_model.done_marker.is_file():
        return "between the stages"
    return "in stage 1" if world_model.has_checkpoint() else "before the first checkpoint"


def main(argv: list[str] | None = None) -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="kept, and gone on with; default a new one")
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="lawm-kill-test-"))
    began = time.monotonic()
    harness = Harness(folder, args.processes, args.seed)
    different = harness.kill_until(args.kills, harness.make_reference())
    print(f"{harness.summary()}; {time.monotonic() - began:.0f} s", flush=True)
    if different:
        print("\n".join(["DIFFERENT:", *different[:10]]), file=sys.stderr)
        print(f"The runs are in {folder}.", file=sys.stderr)
        return 1
    if args.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
