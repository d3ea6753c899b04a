"""The batch of an update that went wrong, with all that it takes to compute its loss again.

NAME.npz    the batch ("batch/obs/state", "batch/action", ...), the random state before the loss
            ("random/cpu"), and "info", a JSON text; readable with numpy alone
NAME.ckpt   weights and settings of the module before that update
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm.batch import Batch
from lawm.errors import LawmError
from lawm.fit_config import STAGES
from lawm.rssm import ModelState


@dataclass(frozen=True)
class Fault:
    """What a fault file holds."""

    stage: str
    batch: Batch | ModelState
    random_state: dict[str, Tensor]  # of torch's generators before the loss, by device type
    info: dict[str, Any]  # step, loss, gradient norm, precision, and where each row comes from


def write_fault(path: Path, fault: Fault) -> None:
    """Write the ``.npz``.

    Args:
        path: The file; its folder exists.
        fault: Tensors on any device.
    """
    arrays = {f"batch/{name}": value for name, value in _tensors(fault.batch).items()}
    arrays |= {f"random/{name}": value for name, value in fault.random_state.items()}
    info = json.dumps({"stage": fault.stage, **fault.info})
    plain: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
    np.savez(path, info=np.array(info), **plain)


def read_fault(path: Path) -> Fault:
    """Read it, without unpickling anything.

    Raises:
        LawmError: There is no such file, or it is not one of these.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LawmError(
            f"{path} {what}; expected a .npz in faults/ of a run folder, as named when "
            "the run stopped."
        )
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive, as every .npz is")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        info = json.loads(str(arrays.pop("info")))
        stage = info.pop("stage")
        if stage not in STAGES:
            raise ValueError(f"stage {stage!r}")
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        batch = _below(tensors, "batch/")
        random_state = _below(tensors, "random/")
        return Fault(stage, _as_batch(stage, batch), random_state, info)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LawmError(
            f"{path} is not a batch that lawm saved ({error}); expected a .npz in faults/ of a run "
            "folder."
        ) from error


def _tensors(batch: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The tensors of a batch by name, those of a dictionary as "field/key"."""
    assert is_dataclass(batch), type(batch)
    found: dict[str, Tensor] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, dict):
            found |= {f"{field.name}/{key}": tensor for key, tensor in value.items()}
        elif value is not None:
            found[field.name] = value
    return found


def _as_batch(stage: str, tensors: dict[str, Tensor]) -> Batch | ModelState:
    if stage == "policy" and "obs" not in {name.split("/")[0] for name in tensors}:
        return ModelState(**tensors)
    others = {name: value for name, value in tensors.items() if "/" not in name}
    return Batch(obs=_below(tensors, "obs/"), probe=_below(tensors, "probe/"), **others)


def _below(values: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


__all__ = ["Fault", "read_fault", "write_fault"]
