"""`lawm fit`: train both stages in one run folder."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from lawm.callbacks.stage_checkpoint import StoppedByUserError
from lawm.cli.fit_parser import FitRequest, parse_fit
from lawm.errors import LawmError
from lawm.fit_config import FitConfig
from lawm.ranks import is_rank_zero
from lawm.report import print_report
from lawm.run_folder import RunFolder, check_new_run_folder, create_run_folder, open_run_folder
from lawm.third_party_noise import silence_third_party_noise
from lawm.two_stage import TwoStageTrainer

INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM
_RUN_DIR_VARIABLE = "LAWM_RUN_DIR"  # how the processes of one run agree on its folder


def run_fit(arguments: list[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows `lawm fit`.

    Returns:
        The exit code.

    Raises:
        LawmError: Something is wrong with what the user gave.
    """
    request = parse_fit(arguments)
    silence_third_party_noise()
    torch.set_num_threads(request.threads or _default_threads(request.config))
    path = request.run_dir or _default_run_dir(request.config.name)
    is_main = is_rank_zero()
    if is_main and not request.resume:
        check_new_run_folder(path, request.config_text)
    trainer = TwoStageTrainer(request.config, path, request.stage, request.world_model_from)
    trainer.prepare()
    if is_main:
        _write_config(path, request)
        print(f"Run folder: {path}", file=sys.stderr)
    try:
        report = trainer.fit()
    except (StoppedByUserError, KeyboardInterrupt):
        return _stopped(INTERRUPTED, "interrupted", path)
    except SIGTERMException:
        return _stopped(TERMINATED, "terminated", path)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # what Lightning makes of it
            return _stopped(INTERRUPTED, "interrupted", path)
        raise
    finally:
        if dist.is_initialized():  # gloo threads that outlive it can abort the interpreter's exit
            dist.destroy_process_group()
    if is_main:
        print_report(report, Console())
    return 0


def _write_config(path: Path, request: FitRequest) -> None:
    """Create the folder, or save what a resumed run changes in its configuration."""
    if request.resume:
        open_run_folder(path).write_config(request.config_text)
    else:
        create_run_folder(path, request.config_text)
        os.environ[_RUN_DIR_VARIABLE] = str(path)


def _default_run_dir(name: str) -> Path:
    """runs/NAME/DATE-TIME, the same in every process of the run.

    Raises:
        LawmError: A launcher started several processes, which would each take their own time.
    """
    if not is_rank_zero() and _RUN_DIR_VARIABLE in os.environ:
        return Path(os.environ[_RUN_DIR_VARIABLE])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LawmError(
            "several processes were started by a launcher, and each would name its own run "
            "folder. Give --run_dir."
        )
    return Path("runs") / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _default_threads(config: FitConfig) -> int:
    """The cores of this machine, shared by its processes; OMP_NUM_THREADS wins."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = str(config.trainer["devices"])
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", devices if devices.isdigit() else "1"))
    return max((cores or 1) // max(processes, 1), 1)


def _stopped(code: int, how: str, path: Path) -> int:
    """Tell how to go on."""
    if is_rank_zero():
        folder = RunFolder(path)
        text = f"lawm: {how}. Continue with: lawm fit --resume {path}"
        if folder.stage("policy").last_checkpoint.is_file():
            text += f"\n      Measure the policy so far with: lawm evaluate {path}"
        print(text, file=sys.stderr)
    return code


__all__ = ["run_fit"]
