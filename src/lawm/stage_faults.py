"""What can happen to a run from outside, told in sentences: memory, disk, other processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lawm.errors import LawmError
from lawm.file_faults import file_fault
from lawm.finite_guard import NotFiniteError
from lawm.fit_config import StageName
from lawm.user_modules import allowing

_TO_LOWER: dict[StageName, str] = {
    "inverse_dynamics": "data.batch_size first, then data.window and inverse_dynamics.model.hidden",
    "world_model": "data.batch_size first, then data.window, world_model.model.deter and "
    "world_model.model.hidden",
    "policy": "start_states.batch_size first, then policy.horizon and policy.hidden (of a cloned "
    "policy data.batch_size)",
}
_NO_CPU_MEMORY = re.compile(r"can't allocate memory|Cannot allocate memory|not enough memory")
_LOST_PROCESS = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe|Socket closed|recvValue failed"
    r"|sendBytes failed|Timed out waiting|NCCL error|ncclRemoteError|Connection refused"
    r"|failed to connect",
    re.IGNORECASE,
)
_HANDING_OVER = "DataLoader worker, while it handed over a batch"
_LOST_WORKER = re.compile(r"DataLoader worker.*(?:exited unexpectedly|killed by signal)", re.DOTALL)


@contextmanager
def told_in_sentences(stage: StageName, run: Path) -> Iterator[None]:
    """Raise a :class:`LawmError` in place of what stops a stage from outside.

    Args:
        stage: What is running, for the settings to change.
        run: Its folder.

    Raises:
        LawmError: A loss was not finite; memory or disk is full; the run folder or another file is
            gone or cannot be written; another process of the run ended, or one that reads its
            data; or Lightning refuses the settings.
    """
    try:
        yield
    except NotFiniteError as error:
        raise LawmError(error.told) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise LawmError(_out_of_memory(stage, run, str(error))) from error
    except EOFError as error:  # a worker that ended while it handed over a batch
        raise LawmError(_lost_worker(run, _HANDING_OVER)) from error
    except OSError as error:
        if isinstance(error, ConnectionError) or "pymp-" in str(error.filename):
            raise LawmError(_lost_worker(run, _HANDING_OVER)) from error
        sentence = file_fault(error)
        if sentence is None:
            raise
        raise LawmError(f"{sentence} {_go_on(run)}") from error
    except RuntimeError as error:
        text = str(error)
        if _NO_CPU_MEMORY.search(text):
            raise LawmError(_out_of_memory(stage, run, text)) from error
        if _LOST_WORKER.search(text):
            raise LawmError(_lost_worker(run, text)) from error
        if found := _LOST_PROCESS.search(text):
            raise LawmError(_lost_process(run, found[0])) from error
        raise
    except MisconfigurationException as error:
        raise LawmError(f"Lightning refuses the settings of {stage}: {error}") from error


def _lost_process(run: Path, reason: str) -> str:
    """The sentence for a run of several processes of which one is gone."""
    return (
        f"another process of this run has ended, so this one ends too ({reason}). What that "
        f"process said last tells why. {_go_on(run)}"
    )


def _lost_worker(run: Path, text: str) -> str:
    """The sentence for a process that read data and is gone."""
    return (
        f"a process that reads data has ended ({text.splitlines()[0].rstrip('. ')}). Where memory "
        f"ran out, lower data.workers, or set data.storage to mapped. {_go_on(run)}"
    )


def _out_of_memory(stage: StageName, run: Path, text: str) -> str:
    where = "the GPU" if "CUDA" in text or "GPU" in text else "this machine"
    first = text.splitlines()[0] if text else "no memory left"
    return (
        f"{stage}: {where} has no memory left ({first}). Lower {_TO_LOWER[stage]}, or set "
        f"trainer.precision to bf16-mixed; stages.{stage}.accumulate_grad_batches 2 with half the "
        f"batch size takes half the memory for the same gradient. A stage keeps its settings to "
        f"the end, so that takes a new run; with these, `{_resume(run)}` goes on where there is "
        "more memory."
    )


def _go_on(run: Path) -> str:
    return f"What was saved is whole: then go on with `{_resume(run)}`."


def _resume(run: Path) -> str:
    return allowing(f"lawm fit --resume {run}")


__all__ = ["told_in_sentences"]
