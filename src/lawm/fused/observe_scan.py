"""The filter's loop over time, with its backward chained by hand.

What :meth:`lawm.world_model.WorldModel.observe` does step by step for Gaussian latents and the
action as transition input, with a third of the operators: no autograd graph in the loop, inputs
and outputs written in place, and one product for each weight's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.loop_layers import (
    LoopGaussian,
    LoopGRU,
    LoopNormSiLU,
    flat,
    linear_gradients,
    take_loop,
)
from lawm.latent_action import LatentActionModel
from lawm.latents import GaussianLatent
from lawm.rssm import RSSM


@dataclass(frozen=True)
class ObserveInputs:
    """What the loop reads and no gradient reaches, time first; F of the B rows are action-free."""

    action: Tensor  # (T, L, A)
    z_noise: Tensor  # (T + 1, B, Z)
    u_noise: Tensor  # (T, F, U)
    dropout_mask: Tensor | None  # (T, F, hidden) of the decoder's hidden layer


def observe_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    embed_projected: Tensor,
    next_projected: Tensor,
    inputs: ObserveInputs,
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter a batch of windows.

    Args:
        rssm: The recurrence.
        latent_action: The inverse posterior and the decoder.
        embed_projected: :meth:`~lawm.rssm.RSSM.project_embed`, ``(T + 1, B, hidden)``.
        next_projected: :meth:`~lawm.latent_action.LatentActionModel.project_next` of the
            action-free rows, ``(T, F, hidden)``.
        inputs: The rest.

    Returns:
        Features s ``(T + 1, B, D + Z)``, parameters of q(z) ``(T + 1, B, 2 Z)`` and of q_free(u)
        ``(T, F, 2 U)``.
    """
    parameters = [p for module in _modules(rssm, latent_action) for p in module.parameters()]
    out: tuple[Tensor, Tensor, Tensor] = _ObserveScan.apply(  # type: ignore[no-untyped-call]
        rssm,
        latent_action,
        inputs,
        embed_projected.contiguous(),
        next_projected.contiguous(),
        *parameters,
    )
    return out


def _modules(rssm: RSSM, latent_action: LatentActionModel) -> list[nn.Module]:
    """In the order of :meth:`_Loop.parameter_gradients`."""
    return [
        rssm.posterior_layer,
        rssm.posterior_output,
        rssm.transition_layer,
        rssm.cell,
        latent_action.inverse_layer,
        latent_action.inverse_output,
        latent_action.decoder_layer,
        latent_action.decoder_output,
    ]


class _Loop:
    """Buffers and both directions of the loop.

    The columns of ``state`` are h, z, u and x, so that what a layer reads lies side by side; the
    transition layer, which reads z and x, has zero weights for u.
    """

    def __init__(self, rssm: RSSM, latent_action: LatentActionModel, inputs: ObserveInputs) -> None:
        self.inputs = inputs
        self.steps, self.labelled, action_dim = inputs.action.shape
        rows, self.free = inputs.z_noise.shape[1], inputs.u_noise.shape[1]
        stoch, latent = rssm.latent, latent_action.latent
        assert isinstance(stoch, GaussianLatent)
        assert isinstance(latent, GaussianLatent)
        self.deter, self.size = rssm.deter, rssm.feature_size
        self.with_u = self.size + latent.size
        steps, weight = self.steps, rssm.transition_layer.linear.weight.detach()

        self.state = weight.new_zeros(steps + 1, rows, self.with_u + action_dim)
        self.state[:-1, : self.labelled, self.with_u :] = inputs.action
        free = self.state[:-1, self.labelled :]
        self.z_params = weight.new_empty(steps + 1, rows, 2 * stoch.size)
        self.u_params = weight.new_empty(steps, self.free, 2 * latent.size)
        self.action = weight.new_empty(steps, self.free, action_dim)  # decoded

        layer = rssm.posterior_layer
        self.posterior = LoopNormSiLU(layer.linear, layer.norm, steps + 1, rows)
        self.posterior_weight, self.posterior_bias = _weights(rssm.posterior_output)
        z = self.state[:, :, self.deter : self.size]
        self.z_sample = LoopGaussian(self.z_params, inputs.z_noise, stoch.min_std, z)
        layer = rssm.transition_layer
        self.of_z, self.of_x = weight[:, : stoch.size], weight[:, stoch.size :]
        unread = weight.new_zeros(weight.shape[0], latent.size)
        wide = torch.cat([self.of_z, unread, self.of_x], dim=1)
        self.transition = LoopNormSiLU(layer.linear, layer.norm, steps, rows, weight=wide)
        self.cell = LoopGRU(rssm.cell.linear, rssm.cell.norm, steps, rows, self.state)
        layer = latent_action.inverse_layer
        self.inverse = LoopNormSiLU(layer.linear, layer.norm, steps, self.free)
        self.inverse_weight, self.inverse_bias = _weights(latent_action.inverse_output)
        u = free[:, :, self.size : self.with_u]
        self.u_sample = LoopGaussian(self.u_params, inputs.u_noise, latent.min_std, u)
        layer = latent_action.decoder_layer
        self.decoder = LoopNormSiLU(layer.linear, layer.norm, steps, self.free)
        self.decoder_weight, self.decoder_bias = _weights(latent_action.decoder_output)
        self.mask = None if inputs.dropout_mask is None else inputs.dropout_mask.unbind()

        # views of single steps, made at once
        self.of_transition = self.state[:, :, self.deter :].unbind()
        self.of_inverse = free[:, :, : self.size].unbind()
        self.of_decoder = free[:, :, : self.with_u].unbind()
        self.x = free[:, :, self.with_u :].unbind()

    def forward(self, embed_projected: Tensor, next_projected: Tensor) -> None:
        """Fill the buffers."""
        h, params, weight = self.cell.h, self.z_params.unbind(), self.posterior_weight.t()
        embed, u_params, action = (
            embed_projected.unbind(),
            self.u_params.unbind(),
            self.action.unbind(),
        )
        following = next_projected.unbind()
        inverse_weight, decoder_weight = self.inverse_weight.t(), self.decoder_weight.t()
        for t in range(self.steps + 1):
            hidden = self.posterior.forward(t, h[t], embed[t])
            torch.addmm(self.posterior_bias, hidden, weight, out=params[t])
            self.z_sample.forward(t)
            if t == self.steps:
                break
            if self.free:  # infer u of the action-free rows, and decode it
                hidden = self.inverse.forward(t, self.of_inverse[t], following[t])
                torch.addmm(self.inverse_bias, hidden, inverse_weight, out=u_params[t])
                self.u_sample.forward(t)
                hidden = self.decoder.forward(t, self.of_decoder[t])
                if self.mask is not None:
                    hidden.mul_(self.mask[t])
                torch.addmm(self.decoder_bias, hidden, decoder_weight, out=action[t])
                self.x[t].copy_(action[t].tanh_())
            self.cell.forward(t, self.transition.forward(t, self.of_transition[t]))

    def backward(self, d_state: Tensor, d_z_params: Tensor, d_u_params: Tensor) -> None:
        """Turn the gradients of the outputs, in place, into those of all states and parameters."""
        self.d_decoded = torch.empty_like(self.action)  # before the tanh
        dh, dz = d_state[:, :, : self.deter].unbind(), d_state[:, :, self.deter :].unbind()
        d_free, d_params = d_state[:, self.labelled :].unbind(), d_z_params.unbind()
        d_u, d_decoded, action = d_u_params.unbind(), self.d_decoded.unbind(), self.action.unbind()
        of_s, of_u = torch.split(self.decoder.weight, [self.size, self.with_u - self.size], dim=1)
        for t in range(self.steps, -1, -1):
            if t < self.steps:
                dy = self.transition.backward(t, self.cell.backward(t, dh[t + 1], dh[t]))
                dz[t].addmm_(dy, self.of_z)
                if self.free:
                    dx = dy[self.labelled :] @ self.of_x
                    torch.ops.aten.tanh_backward(dx, action[t], grad_input=d_decoded[t])
                    d_hidden = d_decoded[t] @ self.decoder_weight
                    if self.mask is not None:
                        d_hidden.mul_(self.mask[t])
                    dy = self.decoder.backward(t, d_hidden)
                    d_free[t].addmm_(dy, of_s)
                    self.u_sample.backward(t, dy @ of_u, d_u[t])
                    dy = self.inverse.backward(t, d_u[t] @ self.inverse_weight)
                    d_free[t].addmm_(dy, self.inverse.weight)
            self.z_sample.backward(t, dz[t], d_params[t])
            dy = self.posterior.backward(t, d_params[t] @ self.posterior_weight)
            dh[t].addmm_(dy, self.posterior.weight)

    def parameter_gradients(self, d_z_params: Tensor, d_u_params: Tensor) -> list[Tensor | None]:
        """In the order of the modules' parameters; None where there is nothing to add.

        The biases of the posterior and the inverse layer are part of what was projected ahead.
        """
        before, free = self.state[:-1], self.state[:-1, self.labelled :]
        inputs = flat(before[:, :, self.deter :])
        transition = self.transition.weight_gradient(inputs)
        columns = [self.of_z.shape[1], self.with_u - self.size, self.of_x.shape[1]]
        of_z, _, of_x = torch.split(transition, columns, dim=1)
        h = flat(before[:, :, : self.deter])
        return [
            self.posterior.weight_gradient(flat(self.state[:, :, : self.deter])),
            *(None, *_scale_and_shift(self.posterior.sums)),
            *linear_gradients(d_z_params, self.posterior.out),
            torch.cat([of_z, of_x], dim=1),
            *self.transition.bias_scale_shift(),
            self.cell.weight_gradient(flat(self.transition.out), h),
            *_scale_and_shift(self.cell.sums),
            self.inverse.weight_gradient(flat(free[:, :, : self.size])),
            *(None, *_scale_and_shift(self.inverse.sums)),
            *linear_gradients(d_u_params, self.inverse.out),
            self.decoder.weight_gradient(flat(free[:, :, : self.with_u])),
            *self.decoder.bias_scale_shift(),
            *linear_gradients(self.d_decoded, self.decoder.out),
        ]


def _weights(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight.detach(), linear.bias.detach()


def _scale_and_shift(sums: Tensor | None) -> tuple[Tensor, Tensor]:
    assert sums is not None
    return sums[0], sums[1]


class _ObserveScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        rssm: RSSM,
        latent_action: LatentActionModel,
        inputs: ObserveInputs,
        embed_projected: Tensor,
        next_projected: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        del parameters  # known to autograd by being arguments; read from the modules
        loop = _Loop(rssm, latent_action, inputs)
        loop.forward(embed_projected, next_projected)
        ctx.loop = loop
        # detached: an output that the graph itself holds on to would never be freed
        features = loop.state[:, :, : loop.size].contiguous()
        return features, loop.z_params.detach(), loop.u_params.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        loop: _Loop = take_loop(ctx)
        d_state, d_z_params, d_u_params = (
            d.clone(memory_format=torch.contiguous_format) for d in d_outputs
        )
        loop.backward(d_state, d_z_params, d_u_params)
        gradients = loop.parameter_gradients(d_z_params, d_u_params)
        return (None, None, None, loop.posterior.dy, loop.inverse.dy, *gradients)


__all__ = ["ObserveInputs", "observe_scan"]
