"""Imagination's loop over time, forward and backward in C; the world model is frozen.

What :func:`lawm.imagination.imagine` does step by step, for Gaussian latents and the action as
transition input.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.block_mlp import BlockMLP
from lawm.fused.layers import BlockCell, BlockLayer
from lawm.fused.packed_linear import PackedLinear
from lawm.fused.structures import (
    CCell,
    CLayer,
    CLinear,
    CMlp,
    address,
    block_rows,
    num_blocks,
    run_kernel,
)
from lawm.latent_action import LatentActionModel
from lawm.latents import GaussianLatent
from lawm.networks import MLP, NormedLinear
from lawm.rssm import RSSM, ModelState

CONSTRAINTS = ("none", "box", "ball", "sphere")  # in the order of the enum in imagine.c


@dataclass(frozen=True)
class Choice:
    """How u follows from the outputs of the policy and of p(u|s).

    Args:
        constraint: Geometry, one of :data:`CONSTRAINTS`.
        extent: Size of its region in standard deviations of the prior.
        min_std: Least standard deviation of the policy.
        max_std: Greatest one.
        bound: Of the policy's mean.
    """

    constraint: str
    extent: float
    min_std: float
    max_std: float
    bound: float


class CImagine(ctypes.Structure):
    """``Imagine`` in imagine.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("threads", "block", "horizon", "rows")),
        *((name, ctypes.c_int64) for name in ("deter", "stoch", "latent", "action", "constraint")),
        *((name, ctypes.c_double) for name in ("extent", "z_min_std", "u_min_std")),
        *((f"policy_{name}", ctypes.c_double) for name in ("min_std", "max_std", "bound")),
        *((name, CMlp) for name in ("policy", "action_prior")),
        *((name, CLayer) for name in ("decoder", "transition", "prior")),
        ("cell", CCell),
        *((name, CLinear) for name in ("decoder_output", "prior_output")),
        *((name, ctypes.c_void_p) for name in ("z_noise", "u_noise", "state", "raw", "u_prior")),
        *((name, ctypes.c_void_p) for name in ("z_params", "decoded", "d_state", "d_raw")),
    )


def imagine_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    policy: MLP,
    choice: Choice,
    u_noise: Tensor,
    start: ModelState,
) -> tuple[Tensor, Tensor]:
    """Imagined states under the policy; gradients reach the policy alone.

    Args:
        rssm: The recurrence.
        latent_action: The prior of u and the decoder.
        policy: The policy's network.
        choice: From its output to u.
        u_noise: ``(H, N, U)``.
        start: N rows.

    Returns:
        Features ``(H + 1, N, D + Z)`` and the policy network's outputs ``(H, N, 2 U)``.
    """
    parameters = list(policy.parameters())
    trained = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
    loop = _Loop(rssm, latent_action, policy, choice, u_noise.contiguous(), start, trained)
    out: tuple[Tensor, Tensor] = _ImagineScan.apply(loop, *parameters)  # type: ignore[no-untyped-call]
    return out


class _Loop:
    """Buffers of both directions of the loop; the columns of ``state`` are h, z, u and x."""

    def __init__(
        self,
        rssm: RSSM,
        latent_action: LatentActionModel,
        policy: MLP,
        choice: Choice,
        u_noise: Tensor,
        start: ModelState,
        trained: bool,
    ) -> None:
        stoch, latent = rssm.latent, latent_action.latent
        assert isinstance(stoch, GaussianLatent)
        assert isinstance(latent, GaussianLatent)
        horizon, self.rows, _ = u_noise.shape
        rows = horizon * self.rows
        weight = rssm.transition_layer.linear.weight.detach()
        action_dim = latent_action.decoder_output.out_features
        self.size = rssm.feature_size
        columns = self.size + latent.size + action_dim

        self.state = weight.new_empty(horizon + 1, self.rows, columns)
        self.state[0, :, : self.size] = start.features.detach()
        self.raw = weight.new_empty(horizon, self.rows, 2 * latent.size)
        buffers = {
            "z_noise": stoch.noise(weight, horizon, self.rows),
            "u_noise": u_noise,
            "state": self.state,
            "raw": self.raw,
            "u_prior": torch.empty_like(self.raw),
            "z_params": weight.new_empty(horizon, self.rows, 2 * stoch.size),
            "decoded": weight.new_empty(horizon, self.rows, action_dim),
        }

        call = self.call = CImagine(
            threads=torch.get_num_threads(),
            block=block_rows(self.rows),
            horizon=horizon,
            rows=self.rows,
            deter=rssm.deter,
            stoch=stoch.size,
            latent=latent.size,
            action=action_dim,
            constraint=CONSTRAINTS.index(choice.constraint),
            extent=choice.extent,
            z_min_std=stoch.min_std,
            u_min_std=latent.min_std,
            policy_min_std=choice.min_std,
            policy_max_std=choice.max_std,
            policy_bound=choice.bound,
            **{name: address(buffer) for name, buffer in buffers.items()},
        )

        def frozen(of: NormedLinear, into: CLayer, weight: Tensor | None = None) -> BlockLayer:
            return BlockLayer(of.linear, of.norm, rows, False, into, weight=weight)

        def frozen_mlp(of: MLP, into: CMlp) -> BlockMLP:
            return BlockMLP(of.hidden_layers(), of.output, rows, False, into)

        # an input behind the action marks it as masked: never in imagination
        of_z, of_x = weight[:, : stoch.size], weight[:, stoch.size : stoch.size + action_dim]
        wide = torch.cat([of_z, weight.new_zeros(weight.shape[0], latent.size), of_x], dim=1)
        self.policy = BlockMLP(policy.hidden_layers(), policy.output, rows, trained, call.policy)
        self.policy.draw(policy.hidden_layers())
        world = (
            frozen_mlp(latent_action.prior_network, call.action_prior),
            frozen(latent_action.decoder_layer, call.decoder),
            frozen(rssm.transition_layer, call.transition, wide),
            frozen(rssm.prior_layer, call.prior),
            BlockCell(rssm.cell.linear, rssm.cell.norm, rows, False, call.cell),
            PackedLinear(latent_action.decoder_output, call.decoder_output),
            PackedLinear(rssm.prior_output, call.prior_output),
        )
        self._keep = buffers, wide, world  # their addresses are used

    def forward(self) -> None:
        """Fill the buffers."""
        run_kernel("lawm_imagine_forward", self.call)

    def backward(self, d_features: Tensor, d_raw: Tensor) -> list[Tensor | None]:
        """The policy's gradients; ``d_raw`` gains what comes through the chosen actions."""
        d_state = torch.empty_like(self.state)
        d_state[:, :, : self.size] = d_features
        d_state[:, :, self.size :] = 0.0
        self.policy.prepare_backward(num_blocks(self.rows))
        self.call.d_state, self.call.d_raw = address(d_state), address(d_raw)
        run_kernel("lawm_imagine_backward", self.call)
        features = self.state[:-1, :, : self.size].flatten(0, 1)
        return self.policy.parameter_gradients(features, d_raw.flatten(0, 1))


class _ImagineScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        loop: _Loop,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        loop.forward()
        ctx.save_for_backward(*parameters)  # the loop reads them again by their addresses
        ctx.loop = loop
        return loop.state[:, :, : loop.size].contiguous(), loop.raw.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_features: Tensor, d_raw: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        _ = ctx.saved_tensors  # checks that the parameters did not change since
        loop: _Loop = ctx.loop
        d_raw = d_raw.clone(memory_format=torch.contiguous_format)
        return None, *loop.backward(d_features, d_raw)


__all__ = ["CONSTRAINTS", "Choice", "imagine_scan"]
