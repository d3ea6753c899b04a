"""Checkpoint files: written whole or not at all, verified when read, no pickled code.

A checkpoint is the archive that ``torch.save`` writes, with a CRC-32 of each of its records.
``torch.load`` does not check them; :func:`read_checkpoint` does.
"""

from __future__ import annotations

import functools
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lawm.atomic_write import atomic_file
from lawm.errors import LawmError

IDENTITY_KEY = "lawm"  # where a checkpoint tells what it was trained with
FORMAT_KEY = "lawm_format"
FORMAT = 5  # raised when what a checkpoint holds, or where, changes
_log = logging.getLogger(__name__)


class DamagedCheckpointError(LawmError):
    """The file is there, but it is not what was written."""


def write_checkpoint(checkpoint: dict[str, Any], path: Path, previous: Path | None = None) -> None:
    """Write a checkpoint.

    Args:
        checkpoint: Tensors and plain values.
        path: The file.
        previous: What was there before is kept here.
    """
    with atomic_file(path, previous) as file:
        torch.save({**checkpoint, FORMAT_KEY: FORMAT}, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The whole checkpoint in today's format, tensors on the CPU.

    Raises:
        DamagedCheckpointError: The file is cut off or altered, or holds more than plain data.
        LawmError: The file is missing, not from lawm, or from a newer lawm.
    """
    if not path.is_file():
        raise LawmError(
            f"checkpoint {path} does not exist; expected a checkpoint that `lawm fit` saved. "
            "Run that stage first, or give the folder of a run that has one."
        )
    try:
        _verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "the file is empty"
        raise DamagedCheckpointError(
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
    return _migrated(path, checkpoint)


def newest_checkpoint(last: Path, previous: Path) -> tuple[Path, dict[str, Any]]:
    """The last checkpoint and its content, or the one before it if the last is damaged.

    The last is missing where the run was killed between its two renames.

    Raises:
        LawmError: There is none that can be used.
    """
    try:
        if last.is_file() or not previous.is_file():
            return last, read_checkpoint(last)
    except DamagedCheckpointError as error:
        if not previous.is_file():
            raise
        content = read_checkpoint(previous)
        _warn_once(f"{error} Until then the one before it is used: {previous}.")
        return previous, content
    return previous, read_checkpoint(previous)


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


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def _verify(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of its record {damaged} does not match")


def _migrated(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    version = checkpoint.get(FORMAT_KEY, 1)  # the first format did not tell
    if version not in (*_MIGRATIONS, FORMAT):
        raise LawmError(
            f"checkpoint {path} has format {version}, and this lawm reads formats 1 to {FORMAT}. "
            "It was written by a newer lawm: update lawm to use it."
        )
    while version != FORMAT:
        _log.info("%s is migrated from checkpoint format %d to %d.", path, version, version + 1)
        checkpoint = _MIGRATIONS[version](path, checkpoint)
        version += 1
    return checkpoint


def _from_1(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Random states were those of the first process alone, and a callback's own."""
    del path
    callbacks = dict(checkpoint.get("callbacks", {}))
    states = callbacks.pop("RandomStream", None)
    migrated = {**checkpoint, FORMAT_KEY: 2}
    if states is not None:
        rows = {"cpu": states["cpu"][None]}
        if len(states["cuda"]) == 1:
            rows["cuda"] = states["cuda"][0][None]
        migrated |= {"callbacks": callbacks, "random_states": rows}
    return migrated


def _from_2(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What infers actions read other inputs, which no weights can be turned into."""
    settings = checkpoint["hyper_parameters"]
    of_world_model = "model.latent_action.inverse_projection.weight" in checkpoint["state_dict"]
    if of_world_model or settings.get("model", {}).get("after", 0) > 0:
        raise LawmError(
            f"checkpoint {path} has format 2 or an older one, of a world model or inverse dynamics "
            "that read other inputs than those of today. Use the lawm that trained it, whose "
            "commit is in the run's provenance.json, or train anew."
        )
    if "spec" not in settings:
        return {**checkpoint, FORMAT_KEY: 3}
    spec = dict(settings["spec"])
    spec["observations"] = {
        key: {**item, "change": ()} for key, item in spec["observations"].items()
    }
    return {**checkpoint, FORMAT_KEY: 3, "hyper_parameters": {**settings, "spec": spec}}


def _from_3(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The inverse posterior had a layer less."""
    if "model.latent_action.inverse_projection.weight" in checkpoint["state_dict"]:
        raise LawmError(
            f"checkpoint {path} has format 3, of a world model whose inverse posterior had a layer "
            "less than today's. Use the lawm that trained it, whose commit is in the run's "
            "provenance.json, or train anew."
        )
    return {**checkpoint, FORMAT_KEY: 4}


def _from_4(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """One deviation of decoded actions served known and inferred latent actions, in training."""
    del path
    migrated, weights = {**checkpoint, FORMAT_KEY: 5}, checkpoint["state_dict"]
    known, inferred = (f"model.latent_action.{of}_raw_std" for of in ("decoder", "inverse"))
    if known not in weights:
        return migrated
    settings = checkpoint["hyper_parameters"]
    model = settings["model"]
    bound = {"inverse_max_std": model["action_max_std"]}
    return migrated | {
        "state_dict": {**weights, inferred: weights[known].clone()},
        "hyper_parameters": {**settings, "model": {**model, **bound}},
    }


_MIGRATIONS: dict[int, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
}

__all__ = [
    "FORMAT",
    "FORMAT_KEY",
    "IDENTITY_KEY",
    "DamagedCheckpointError",
    "newest_checkpoint",
    "read_checkpoint",
    "training_inputs",
    "write_checkpoint",
]
