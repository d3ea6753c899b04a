"""A training step stays on its device: it makes nothing on the host and waits for nothing.

On the meta device, which has shapes but no values, so that it runs without a GPU: reading a value
fails there, and the watch finds each operator that a tensor of the host goes into or comes out of.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from model_factory import SMALL, VARIANTS, add_images, make_batch, make_spec
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lawm.imagination import rollout_reward
from lawm.policy_module import LatentPolicyModule
from lawm.rssm import ModelState
from lawm.support_constraint import ConstraintConfig, ConstraintName
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_module import WorldModelModule


class NothingOnTheHost(TorchDispatchMode):
    """Raises at an operator that has to do with a tensor of the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            if isinstance(value, Tensor) and value.device.type == "cpu":
                raise AssertionError(f"{func} has to do with a {tuple(value.shape)} of the host")
        return out


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """The meta device has none."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def stage_1(images: tuple[str, ...] = (), **config: Any) -> WorldModelModule:
    return WorldModelModule(make_spec(images), WorldModelConfig(**(SMALL | config))).to("meta")


def test_the_watch_finds_a_copy_from_the_host():
    with (
        pytest.raises(AssertionError, match=r"randn\.default has to do with a \(2,\)"),
        NothingOnTheHost(),
    ):
        torch.randn(2).to("meta")


def test_a_value_cannot_be_read():
    with pytest.raises(RuntimeError, match="meta"):
        torch.zeros((), device="meta").item()


@pytest.mark.parametrize("images", [(), ("front",)], ids=["states", "images"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_stage_1(variant, images):
    module = stage_1(images, **VARIANTS[variant])
    batch = add_images(make_batch(), *images).to("meta")
    for _ in range(2):  # the second finds what the first has kept
        with NothingOnTheHost():
            loss, logs = module.compute_loss(batch)
            loss.backward()
            module.record(loss, logs)


def test_a_step_without_a_decoder_of_images():
    module = stage_1(("front",), observation_loss="redundancy_reduction")
    batch = add_images(make_batch(), "front").to("meta")
    with NothingOnTheHost():
        module.compute_loss(batch)[0].backward()


def stage_2(constraint: ConstraintName, **config: Any) -> tuple[LatentPolicyModule, ModelState]:
    world_model = stage_1(**config).model
    module = LatentPolicyModule(world_model, make_spec(), ConstraintConfig(constraint), horizon=3)
    sizes = world_model.rssm.deter, world_model.rssm.latent.size
    return module.to("meta"), ModelState(*(torch.empty(8, size, device="meta") for size in sizes))


@pytest.mark.parametrize(
    ("variant", "constraint"),
    [(variant, "box") for variant in VARIANTS]
    + [("action", kind) for kind in ("ball", "sphere", "none")],
)
def test_a_step_of_stage_2(variant, constraint):
    module, start = stage_2(constraint, **VARIANTS[variant])
    for _ in range(2):  # from the second on rollouts go on
        with NothingOnTheHost():
            loss, logs = module.compute_loss(module.continued.join(start))
            loss.backward()
            module.record(loss, logs)
            module.update_target()


def test_a_rollout_of_offline_selection():
    module, start = stage_2("box")
    with NothingOnTheHost():
        rollout_reward(module.world_model, module.policy, module.constraint, start, num_steps=3)
