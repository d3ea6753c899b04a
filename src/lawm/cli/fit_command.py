"""`lawm fit`: train both stages in one run folder."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console

from lawm.atomic_write import remove_leftovers
from lawm.cli.fit_parser import FitRequest, parse_fit
from lawm.cli.launch import default_run_dir, default_threads
from lawm.provenance import record_start, this_process
from lawm.ranks import is_rank_zero
from lawm.report import print_report
from lawm.run_folder import (
    RunFolder,
    check_new_run_folder,
    create_run_folder,
    make_folder,
    open_run_folder,
)
from lawm.run_lock import RunLock
from lawm.stop_signals import StopRun, StopSignals
from lawm.third_party_noise import silence_third_party_noise
from lawm.two_stage import TwoStageTrainer
from lawm.user_modules import allowing


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
    torch.set_num_threads(request.threads or default_threads(request.config))
    path = request.run_dir or default_run_dir(request.config.name)
    with StopSignals() as stop:
        try:
            with ExitStack() as resources:
                return _fit(request, arguments, path, stop, resources)
        except StopRun as stopped:
            if not is_rank_zero():  # Lightning's launcher kills the first one if another fails
                return 0
            _tell_how_to_go_on(path, stopped)
            return stopped.exit_code
        finally:
            if dist.is_initialized():  # gloo threads that outlive it can abort the exit
                dist.destroy_process_group()


def _fit(
    request: FitRequest,
    arguments: list[str],
    path: Path,
    stop: StopSignals,
    resources: ExitStack,
) -> int:
    is_main = is_rank_zero()
    if is_main and request.resume:
        resources.enter_context(RunLock(RunFolder(path).lock_file))
        remove_leftovers(path)
    elif is_main:
        check_new_run_folder(path, request.config_text)
    trainer = TwoStageTrainer(request.config, path, request.stage, request.world_model_from, stop)
    trainer.prepare()
    if is_main and request.resume:
        open_run_folder(path).write_config(request.config_text)
    elif is_main:
        make_folder(path)
        resources.enter_context(RunLock(RunFolder(path).lock_file))
        create_run_folder(path, request.config_text)
    if is_main:
        start = this_process(["fit", *arguments])
        record_start(RunFolder(path).provenance_file, start, trainer.data_summary())
        print(f"Run folder: {path}", file=sys.stderr)
    report = trainer.fit()
    if is_main:
        print_report(report, Console())
    return 0


def _tell_how_to_go_on(path: Path, stopped: StopRun) -> None:
    folder = RunFolder(path)
    text = f"lawm: stopped by {stopped}."
    if folder.config_file.is_file():
        text += f" Continue with: {allowing(f'lawm fit --resume {path}')}"
    if folder.stage("policy").has_checkpoint():
        text += f"\n      Measure the policy so far with: {allowing(f'lawm evaluate {path}')}"
    print(text, file=sys.stderr)


__all__ = ["run_fit"]
