"""Reading checkpoints: safely (no pickled code), and with a sentence when one is unusable."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from lawm.errors import LawmError

IDENTITY_KEY = "lawm"  # where a checkpoint tells what it was trained with


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The whole checkpoint, tensors on the CPU.

    Raises:
        LawmError: The file is missing, cut off, holds more than plain data, or is not from lawm.
    """
    if not path.is_file():
        raise LawmError(
            f"checkpoint {path} does not exist; expected a checkpoint that `lawm fit` saved. "
            "Run that stage first, or give the folder of a run that has one."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "the file is empty"
        raise LawmError(
            f"checkpoint {path} cannot be read ({reason}); expected a whole checkpoint of plain "
            "weights and numbers. Take another checkpoint, or run that stage again."
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters"} <= set(
        checkpoint
    ):
        raise LawmError(
            f"checkpoint {path} was not written by `lawm fit`: it lacks weights or settings. "
            "Expected a last.ckpt or best.ckpt of a run folder."
        )
    return checkpoint


def training_inputs(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the weights were trained with, see :mod:`lawm.stage_identity`.

    Args:
        path: Of the checkpoint, for the message.
        checkpoint: From :func:`read_checkpoint`.

    Raises:
        LawmError: The checkpoint does not tell, so it can be neither continued nor reused.
    """
    if IDENTITY_KEY not in checkpoint:
        raise LawmError(
            f"checkpoint {path} does not say what it was trained with, so it can be neither "
            "continued nor reused. Expected a last.ckpt of a run folder."
        )
    inputs: dict[str, Any] = checkpoint[IDENTITY_KEY]["inputs"]
    return inputs


__all__ = ["IDENTITY_KEY", "read_checkpoint", "training_inputs"]
