"""Buffers of imagination's loop over time, and its structure."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm.fused.block_mlp import BlockMLP
from lawm.fused.kernels import in_bf16
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


class ImagineLoop:
    """Both directions of the loop for H steps of N rows; the world model is frozen.

    The columns of ``state`` are h, z, u and x, so that what a layer reads lies side by side; the
    transition layer, which reads z and x, has zero weights for u.
    """

    def __init__(
        self,
        rssm: RSSM,
        latent_action: LatentActionModel,
        policy: MLP,
        choice: Choice,
        horizon: int,
        rows: int,
        trained: bool,
    ) -> None:
        stoch, latent, of = rssm.latent, latent_action.latent, latent_action
        assert isinstance(stoch, GaussianLatent)
        assert isinstance(latent, GaussianLatent)
        self.horizon, self.rows, all_rows = horizon, rows, horizon * rows
        weight = rssm.transition_layer.linear.weight.detach()
        action = latent_action.decoder_output.out_features
        self.size, self._stoch, self._action = rssm.feature_size, stoch.size, action
        self.columns = self.size + latent.size + action
        self._wide = weight.new_zeros(weight.shape[0], self.columns - rssm.deter)
        self._z_params = weight.new_empty(all_rows, 2 * stoch.size)
        self._decoded = weight.new_empty(all_rows, action)
        self._d_state: Tensor | None = None
        call = self.call = CImagine(
            block=block_rows(rows),
            horizon=horizon,
            rows=rows,
            deter=rssm.deter,
            stoch=stoch.size,
            latent=latent.size,
            action=action,
            constraint=CONSTRAINTS.index(choice.constraint),
            extent=choice.extent,
            policy_min_std=choice.min_std,
            policy_max_std=choice.max_std,
            policy_bound=choice.bound,
            z_params=address(self._z_params),
            decoded=address(self._decoded),
        )

        def frozen(of: NormedLinear, into: CLayer, weight: Tensor | None = None) -> BlockLayer:
            return BlockLayer(of.linear, of.norm, all_rows, False, into, weight=weight)

        self.policy = BlockMLP(
            policy.hidden_layers(),
            policy.output,
            all_rows,
            trained,
            call.policy,
            as_pairs=trained and rows % 2 == 0 and in_bf16(),
        )
        prior = of.prior_network
        self._action_prior = BlockMLP(
            prior.hidden_layers(), prior.output, all_rows, False, call.action_prior
        )
        self._decoder = frozen(of.decoder_layer, call.decoder)
        self._transition = frozen(rssm.transition_layer, call.transition, self._wide)
        self._prior = frozen(rssm.prior_layer, call.prior)
        self._cell = BlockCell(rssm.cell.linear, rssm.cell.norm, all_rows, False, call.cell)
        self._decoder_output = PackedLinear(of.decoder_output, call.decoder_output)
        self._prior_output = PackedLinear(rssm.prior_output, call.prior_output)
        hidden = 3 * weight.shape[0] + 3 * rssm.deter  # decoder, transition, prior and cell
        self.numbers = self.policy.numbers + self._action_prior.numbers
        self.numbers += all_rows * (self.columns + hidden)

    def use(self, rssm: RSSM, latent_action: LatentActionModel) -> None:
        """Compute with the parameters that these have now."""
        of, weight = latent_action, rssm.transition_layer.linear.weight.detach()
        stoch, action = self._stoch, self._action
        assert isinstance(rssm.latent, GaussianLatent)
        assert isinstance(of.latent, GaussianLatent)
        self.call.z_min_std, self.call.u_min_std = rssm.latent.min_std, of.latent.min_std
        # an input behind the action marks it as masked: never in imagination
        self._wide[:, :stoch] = weight[:, :stoch]
        self._wide[:, -action:] = weight[:, stoch : stoch + action]
        transition = rssm.transition_layer
        self._transition.follow(transition.linear, transition.norm, self._wide)
        self._decoder.follow(of.decoder_layer.linear, of.decoder_layer.norm)
        self._prior.follow(rssm.prior_layer.linear, rssm.prior_layer.norm)
        self._cell.follow(rssm.cell.linear, rssm.cell.norm)
        self._decoder_output.use(of.decoder_output.weight, of.decoder_output.bias)
        self._prior_output.use(rssm.prior_output.weight, rssm.prior_output.bias)
        prior = of.prior_network
        self._u_prior = self._action_prior.begin([*prior.parameters()], prior.hidden_layers())
        self.call.u_prior = address(self._u_prior)

    def forward(
        self, policy: MLP, noise: tuple[Tensor, Tensor], start: ModelState
    ) -> tuple[Tensor, Tensor]:
        """Imagine; the caller keeps alive what this reads and returns.

        Args:
            policy: Its parameters of now.
            noise: Of z ``(H, N, Z)`` and of v ``(H, N, U)``.
            start: N rows.

        Returns:
            ``state`` ``(H + 1, N, ·)`` and the policy network's outputs ``(H, N, 2 U)``.
        """
        raw = self.policy.begin([*policy.parameters()], policy.hidden_layers())
        state = raw.new_empty(self.horizon + 1, self.rows, self.columns)
        state[0, :, : self.size] = start.features
        self.call.threads = torch.get_num_threads()
        self._point_at(noise, state, raw)
        run_kernel("lawm_imagine_forward", self.call)
        return state, raw.view(self.horizon, self.rows, raw.shape[-1])

    def _point_at(self, noise: tuple[Tensor, Tensor], state: Tensor, raw: Tensor) -> None:
        self.call.z_noise, self.call.u_noise = map(address, noise)
        self.call.state, self.call.raw = address(state), address(raw)

    def backward(
        self,
        noise: tuple[Tensor, Tensor],
        state: Tensor,
        raw: Tensor,
        d_features: Tensor | None,
        d_after: Tensor | None,
        d_raw: Tensor,
    ) -> list[Tensor | None]:
        """The gradients of the policy's parameters.

        Args:
            noise: As :meth:`forward` had it.
            state: What it returned.
            raw: What it returned.
            d_features: Gradient of the features, ``(H + 1, N, D + Z)``.
            d_after: Another one of those behind each step, ``(H, N, D + Z)``.
            d_raw: That of ``raw``; gains what comes through the chosen actions.
        """
        if self._d_state is None:
            self._d_state = torch.empty_like(state)
        d_state = self._d_state
        d_state[0] = 0.0
        d_state[1:, :, : self.size] = 0.0 if d_after is None else d_after
        d_state[1:, :, self.size :] = 0.0
        if d_features is not None:
            d_state[1:, :, : self.size] += d_features[1:]  # none asks for that of the start
        self.policy.prepare_backward(num_blocks(self.rows))
        self.policy.prepare_gradients()
        self._point_at(noise, state, raw)
        self.call.d_state, self.call.d_raw = address(d_state), address(d_raw)
        run_kernel("lawm_imagine_backward", self.call)
        features = state[:-1, :, : self.size].flatten(0, 1)
        return self.policy.parameter_gradients(features, d_raw.flatten(0, 1))


__all__ = ["CONSTRAINTS", "CImagine", "Choice", "ImagineLoop"]
