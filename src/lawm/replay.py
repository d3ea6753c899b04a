"""Computes the loss of a saved batch again and tells what in it is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lawm.batch import Batch
from lawm.checkpoint_file import read_checkpoint
from lawm.fault_file import Fault, read_fault
from lawm.fused.kernels import enable_kernels
from lawm.own_modules import NAME_KEY, world_model_module
from lawm.rssm import ModelState
from lawm.run_folder import RunFolder
from lawm.saved_run import action_prediction_module, policy_module
from lawm.spec import DataSpec
from lawm.stage_module import StageModule
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import LossCoefficients, LossOptions
from lawm.world_model_module import RateConfig


@dataclass(frozen=True)
class Replay:
    """What came out."""

    fault: Fault
    terms: dict[str, float]  # the loss and what it is made of
    gradients_not_finite: list[str]  # names of parameters
    rows_not_finite: list[int]  # rows whose loss alone, or whose data, are not finite

    @property
    def is_reproduced(self) -> bool:
        """Whether something was not finite again."""
        return bool(self.gradients_not_finite) or not math.isfinite(self.terms["loss"])


def replay(path: Path) -> Replay:
    """Compute loss and gradients of a saved batch, operator by operator in plain PyTorch.

    With the random numbers, and the weights before the update, of the run that stopped. On the
    device type that it ran on, if there is one here; results differ in the last bits from those of
    fused kernels, in bfloat16 in the third digit.

    Args:
        path: A ``.npz`` that a run left in its ``faults/``.

    Raises:
        LawmError: The file, its weights, or the world model of its run cannot be read.
    """
    fault = read_fault(path)
    module = _module(path, fault.stage)
    on_cuda = "cuda" in fault.random_state and torch.cuda.is_available()
    device = torch.device("cuda" if on_cuda else "cpu")
    module.to(device).train()
    enable_kernels(False)

    loss, logs = _compute_loss(module, fault, fault.batch.to(device))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        name: parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    rows = [
        row
        for row in range(_num_rows(fault.batch))
        if not _is_row_finite(module, fault, _row(fault.batch, row).to(device))
    ]
    return Replay(
        fault,
        terms={name: float(value.detach()) for name, value in logs.items()},
        gradients_not_finite=[n for n, g in gradients.items() if not bool(g.isfinite().all())],
        rows_not_finite=rows,
    )


def _compute_loss(
    module: StageModule[Any], fault: Fault, batch: Batch | ModelState
) -> tuple[Tensor, dict[str, Tensor]]:
    device = module.device
    torch.set_rng_state(fault.random_state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(fault.random_state["cuda"], device)
    is_mixed = str(fault.info.get("precision", "")).startswith("bf16")
    with torch.autocast(device.type, torch.bfloat16, enabled=is_mixed):
        return module.compute_loss(batch)


@torch.no_grad()
def _is_row_finite(module: StageModule[Any], fault: Fault, row: Batch | ModelState) -> bool:
    if isinstance(row, Batch):
        tensors = [*row.obs.values(), row.action, row.reward]
    else:
        tensors = [row.h, row.z]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        return False
    loss, _ = _compute_loss(module, fault, row)
    return bool(loss.isfinite())


def _num_rows(batch: Batch | ModelState) -> int:
    return batch.num_rows if isinstance(batch, Batch) else int(batch.h.shape[0])


def _row(batch: Batch | ModelState, row: int) -> Batch | ModelState:
    """One row as a batch."""
    one = slice(row, row + 1)
    if isinstance(batch, ModelState):
        return ModelState(batch.h[one], batch.z[one])
    return replace(
        batch,
        obs={key: value[one] for key, value in batch.obs.items()},
        action=batch.action[one],
        reward=batch.reward[one],
        terminated=batch.terminated[one],
        has_reward=batch.has_reward[one],
        source=None,
    )


def _module(path: Path, stage: str) -> StageModule[Any]:
    """The module with the weights before the update."""
    saved = read_checkpoint(path.with_suffix(".ckpt"))
    settings: dict[str, Any] = dict(saved["hyper_parameters"])
    module: StageModule[Any]
    if stage == "inverse_dynamics":
        module = action_prediction_module(settings)
    elif stage == "policy":
        module = policy_module(RunFolder(path.resolve().parent.parent), settings)
    else:
        spec = DataSpec.from_dict(settings.pop("spec"))
        settings["model"] = WorldModelConfig(**settings["model"])
        settings["coefficients"] = LossCoefficients(**settings["coefficients"])
        settings["options"] = LossOptions(**settings["options"])
        settings["rate"] = RateConfig(**settings["rate"])
        module = world_model_module(settings.pop(NAME_KEY, None))(spec, **settings)
    module.load_state_dict(saved["state_dict"])
    return module


__all__ = ["Replay", "replay"]
