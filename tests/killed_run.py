"""One attempt at a `lawm fit`, in forked processes that have everything imported already.

A fork saves the seconds that importing torch and Lightning takes; what runs in it is the whole
command line. The processes of an attempt look like those that torchrun starts.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import lawm.two_stage  # noqa: F401 (imported before the fork)
from lawm.cli import main


def attempt(
    arguments: list[str],
    log: Path,
    processes: int = 1,
    in_child: Callable[[], None] = lambda: None,
    kill_after: float | None = None,
    counted_from: Path | None = None,
) -> int:
    """Run the command in forks.

    Args:
        arguments: Of the command line.
        log: Where the output goes.
        processes: Ranks of the run.
        in_child: Called in the first process before the command.
        kill_after: Seconds after which all processes get SIGKILL; None waits for their end. As
            soon as one process of several has ended badly, the others get it, too.
        counted_from: The seconds count from when this file exists; default from the start.

    Returns:
        What the first process ended with that ended badly, an exit code or minus the number of a
        signal; 0 if none did.
    """
    port = _free_port()
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            _run(arguments, log, rank, processes, port, in_child)
        children.append(child)
    result, alive = 0, set(children)
    deadline: float | None = None
    while alive:
        has_begun = counted_from is None or counted_from.is_file()
        if kill_after is not None and deadline is None and has_begun:
            deadline = time.monotonic() + kill_after
        for child in list(alive):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                alive.remove(child)
                result = result or os.waitstatus_to_exitcode(status)
        if result or (deadline is not None and time.monotonic() >= deadline):
            for child in alive:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    return result


def die_at_operation(number: int) -> None:
    """Let this process kill itself at a file operation, counted from 1.

    Those are the moments at which a torn file could come about: in the middle of writing a
    checkpoint, before it is synced, and before and after each rename.
    """
    save, fsync, replace = torch.save, os.fsync, os.replace
    count = 0

    def is_due() -> bool:
        nonlocal count
        count += 1
        return count == number

    def dying_save(content, file):
        if is_due():
            whole = io.BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            _die()
        save(content, file)

    def dying_fsync(descriptor):
        if is_due():
            _die()
        fsync(descriptor)

    def dying_replace(source, target):
        if is_due():
            _die()
        replace(source, target)
        if is_due():
            _die()

    torch.save, os.fsync, os.replace = dying_save, dying_fsync, dying_replace


def _run(
    arguments: list[str],
    log: Path,
    rank: int,
    processes: int,
    port: int,
    in_child: Callable[[], None],
) -> None:
    """The child: never returns."""
    code = 1
    try:
        sys.stdout = sys.stderr = log.open("a", buffering=1)
        for standard in (1, 2):
            os.dup2(sys.stdout.fileno(), standard)
        torch.seed()  # no two forks alike: exactness must not come from a shared past
        if processes > 1:
            from lightning.pytorch.utilities import rank_zero_only

            rank_zero_only.rank = rank  # it was read from the environment when imported
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "GROUP_RANK": "0",
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
            }
        if rank == 0:
            in_child()
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


__all__ = ["attempt", "die_at_operation"]
