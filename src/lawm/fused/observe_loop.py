"""Buffers of the filter's loop over time, and its structure."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.fused.layers import BlockCell, BlockLayer
from lawm.fused.packed_linear import PackedLinear
from lawm.fused.structures import (
    CCell,
    CLayer,
    CLinear,
    address,
    block_rows,
    num_blocks,
    run_kernel,
)
from lawm.latent_action import LatentActionModel
from lawm.latents import GaussianLatent
from lawm.networks import NormedGRUCell, NormedLinear
from lawm.rssm import RSSM


class CObserve(ctypes.Structure):
    """``Observe`` in observe.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("threads", "block", "steps", "rows", "labelled")),
        *((name, ctypes.c_int64) for name in ("deter", "stoch", "latent", "action")),
        *((name, ctypes.c_double) for name in ("z_min_std", "x_gradient")),
        *((name, CLayer) for name in ("posterior", "transition", "inverse", "decoder")),
        ("cell", CCell),
        *((name, CLinear) for name in ("posterior_output", "inverse_output", "decoder_output")),
        *((name, ctypes.c_void_p) for name in ("embed", "next", "z_noise")),
        *((name, ctypes.c_void_p) for name in ("state", "z_params", "u_params", "decoded")),
        *((name, ctypes.c_void_p) for name in ("d_state", "d_z_params", "d_u_params", "d_decoded")),
    )


@dataclass(frozen=True)
class ObserveInputs:
    """What the loop reads and no gradient reaches, time first; L of the B rows are labelled."""

    action: Tensor  # (T, L, A)
    z_noise: Tensor  # (T + 1, B, Z)
    inverse_gradient: float  # factor on that of the inferred actions


@dataclass(frozen=True)
class ObserveOutputs:
    """What the loop leaves; nothing of it is used again by another call."""

    features: Tensor  # (T + 1, B, D + Z)
    z_params: Tensor  # (T + 1, B, 2 Z)
    u_params: Tensor  # (T, F, 2 U)
    decoded: Tensor  # (T, F, A)


def modules_of(
    rssm: RSSM, latent_action: LatentActionModel
) -> tuple[NormedLinear | nn.Linear | NormedGRUCell, ...]:
    """The layers of the loop, in the order of :meth:`ObserveLoop.parameter_gradients`."""
    return (
        rssm.posterior_layer,
        rssm.posterior_output,
        rssm.transition_layer,
        rssm.cell,
        latent_action.inverse_layer,
        latent_action.inverse_output,
        latent_action.decoder_layer,
        latent_action.decoder_output,
    )


class ObserveLoop:
    """Both directions of the loop for windows of T steps, of which L rows of B are labelled.

    The columns of ``state`` are h, z, u and x, so that what a layer reads lies side by side; the
    transition layer, which reads z and x, has zero weights for u.
    """

    def __init__(
        self,
        rssm: RSSM,
        latent_action: LatentActionModel,
        steps: int,
        rows: int,
        labelled: int,
        trained: bool,
    ) -> None:
        stoch, latent = rssm.latent, latent_action.latent
        assert isinstance(stoch, GaussianLatent)
        assert isinstance(latent, GaussianLatent)
        weight, free = rssm.transition_layer.linear.weight.detach(), rows - labelled
        action = weight.shape[1] - stoch.size
        actions = latent_action.decoder_output.out_features  # x may have an input more
        self.steps, self.rows, self.labelled, self.free = steps, rows, labelled, free
        self.deter, self.size = rssm.deter, rssm.feature_size
        self.with_u = self.size + latent.size
        self.columns = [stoch.size, latent.size, action]
        self._sizes = 2 * stoch.size, 2 * latent.size, actions
        # what no step writes stays zero: the first h, u of labelled rows, u and x of the last step
        self.state = weight.new_zeros(steps + 1, rows, self.with_u + action)
        self._wide = weight.new_zeros(weight.shape[0], sum(self.columns))
        self._d_state: Tensor | None = None
        call = self.call = CObserve(
            block=block_rows(rows),
            steps=steps,
            rows=rows,
            labelled=labelled,
            deter=rssm.deter,
            stoch=stoch.size,
            latent=latent.size,
            action=action,
            z_min_std=stoch.min_std,
            state=address(self.state),
        )

        def layer(
            of: NormedLinear, rows: int, into: CLayer, weight: Tensor | None = None
        ) -> BlockLayer:
            # its output is needed by the next layer of the block, so it is always kept
            return BlockLayer(of.linear, of.norm, rows, trained, into, weight=weight, keep_out=True)

        of = latent_action
        self.posterior = layer(rssm.posterior_layer, (steps + 1) * rows, call.posterior)
        self.transition = layer(rssm.transition_layer, steps * rows, call.transition, self._wide)
        self.inverse = layer(of.inverse_layer, steps * free, call.inverse)
        self.decoder = layer(of.decoder_layer, steps * free, call.decoder)
        self.cell = BlockCell(rssm.cell.linear, rssm.cell.norm, steps * rows, trained, call.cell)
        self._posterior_output = PackedLinear(rssm.posterior_output, call.posterior_output)
        self._inverse_output = PackedLinear(of.inverse_output, call.inverse_output)
        self._decoder_output = PackedLinear(of.decoder_output, call.decoder_output)
        hidden = 2 * rssm.transition_layer.linear.out_features + 3 * rssm.deter
        self.numbers = 2 * self.state.numel() + 3 * steps * rows * hidden

    def use(self, rssm: RSSM, latent_action: LatentActionModel) -> None:
        """Compute with the parameters that these have now."""
        of, weight = latent_action, rssm.transition_layer.linear.weight.detach()
        stoch, _, action = self.columns
        self._wide[:, :stoch] = weight[:, :stoch]
        self._wide[:, -action:] = weight[:, stoch:]
        transition = rssm.transition_layer
        self.transition.follow(transition.linear, transition.norm, self._wide)
        self.posterior.follow(rssm.posterior_layer.linear, rssm.posterior_layer.norm)
        self.inverse.follow(of.inverse_layer.linear, of.inverse_layer.norm)
        self.decoder.follow(of.decoder_layer.linear, of.decoder_layer.norm)
        self.cell.follow(rssm.cell.linear, rssm.cell.norm)
        self._posterior_output.use(rssm.posterior_output.weight, rssm.posterior_output.bias)
        self._inverse_output.use(of.inverse_output.weight, of.inverse_output.bias)
        self._decoder_output.use(of.decoder_output.weight, of.decoder_output.bias)

    def forward(
        self, inputs: ObserveInputs, embed_projected: Tensor, inverse_projected: Tensor
    ) -> ObserveOutputs:
        """Filter; the caller keeps what is read alive."""
        self.state[:-1, : self.labelled, self.with_u :] = inputs.action
        of_z, of_u, actions = self._sizes
        z_params = self.state.new_empty(self.steps + 1, self.rows, of_z)
        u_params = self.state.new_empty(self.steps, self.free, of_u)
        decoded = self.state.new_empty(self.steps, self.free, actions)
        call = self.call
        call.threads, call.x_gradient = torch.get_num_threads(), inputs.inverse_gradient
        call.embed, call.next = address(embed_projected), address(inverse_projected)
        self._point_at(inputs.z_noise, z_params, u_params, decoded)
        run_kernel("lawm_observe_forward", call)
        features = self.state[:, :, : self.size].clone(memory_format=torch.contiguous_format)
        return ObserveOutputs(features, z_params, u_params, decoded)

    def _point_at(
        self, z_noise: Tensor, z_params: Tensor, u_params: Tensor, decoded: Tensor
    ) -> None:
        call = self.call
        call.z_noise, call.z_params = address(z_noise), address(z_params)
        call.u_params, call.decoded = address(u_params), address(decoded)

    def backward(
        self,
        saved: tuple[Tensor, Tensor, Tensor, Tensor],
        d_features: Tensor | float,
        d_z_params: Tensor,
        d_u_params: Tensor | None,
    ) -> Tensor | None:
        """Turn the gradients of both parameters, in place, into those with all later steps' part.

        ``saved`` are noise and parameters of z, parameters of u and decoded actions of
        :meth:`forward`. ``d_u_params`` is None where nothing trains what infers actions: that part
        of the loop is left out then.

        Returns:
            The gradient of the decoded actions before their tanh, ``(T, F, A)``, where the
            dynamics train what infers them.
        """
        if self._d_state is None:
            self._d_state = torch.empty_like(self.state)
        d_state, d_decoded = self._d_state, None
        if self.call.x_gradient:
            d_decoded = self.state.new_empty(self.steps, self.free, self._sizes[2])
        d_state[:, :, : self.size] = d_features
        d_state[:, :, self.size :] = 0.0
        blocks = num_blocks(self.rows)
        self.posterior.prepare_backward(blocks, gives_dy=True)
        self.transition.prepare_backward(blocks)
        self.cell.prepare_backward(blocks)
        if d_u_params is not None:
            self.inverse.prepare_backward(blocks, gives_dy=True)
        if d_decoded is not None:
            self.decoder.prepare_backward(blocks)
        self._point_at(*saved)
        self.call.d_state, self.call.d_decoded = address(d_state), address(d_decoded)
        self.call.d_z_params, self.call.d_u_params = address(d_z_params), address(d_u_params)
        run_kernel("lawm_observe_backward", self.call)
        return d_decoded

    def parameter_gradients(
        self, d_z_params: Tensor, d_u_params: Tensor | None, d_decoded: Tensor | None
    ) -> list[Tensor | None]:
        """In the order of the modules' parameters; None where there is nothing to add.

        The biases of the posterior and the inverse layer are part of what was projected ahead.
        """
        before, free = self.state[:-1], self.state[:-1, self.labelled :]
        hidden = self.transition.out
        assert hidden is not None
        of_transition = self.transition.parameter_gradients(_rows(before[:, :, self.deter :]))
        assert of_transition[0] is not None
        of_z, _, of_x = torch.split(of_transition[0], self.columns, dim=1)
        h, s, su = (
            self.state[:, :, : self.deter],
            free[:, :, : self.size],
            free[:, :, : self.with_u],
        )
        return [
            *_without_bias(_both(self.posterior, self._posterior_output, h, d_z_params)),
            *(torch.cat([of_z, of_x], dim=1), *of_transition[1:]),
            *self.cell.parameter_gradients(hidden, _rows(before[:, :, : self.deter])),
            *_without_bias(_both(self.inverse, self._inverse_output, s, d_u_params)),
            *_both(self.decoder, self._decoder_output, su, d_decoded),
        ]


def _both(
    layer: BlockLayer, output: PackedLinear, x: Tensor, d_out: Tensor | None
) -> list[Tensor | None]:
    """Gradients of a layer that reads ``x`` and of the linear output behind it; None without."""
    if d_out is None:
        return [None] * 6
    assert layer.out is not None
    return [*layer.parameter_gradients(_rows(x)), *output.gradients(_rows(d_out), layer.out)]


def _without_bias(gradients: list[Tensor | None]) -> list[Tensor | None]:
    """Weight, bias, scale and shift of a layer, and what follows, without the bias."""
    return [gradients[0], None, *gradients[2:]]


def _rows(x: Tensor) -> Tensor:
    """``(T, B, n) -> (T B, n)``."""
    return x.flatten(0, 1)


__all__ = ["CObserve", "ObserveInputs", "ObserveLoop", "ObserveOutputs", "modules_of"]
