"""Imagination's loop over time, with its backward chained by hand; the world model is frozen.

What :func:`lawm.imagination.imagine` does step by step, for a Gaussian state and the action as
transition input, with a third of the operators. The small part that differs between policies and
support constraints, from the two networks' outputs to u, is left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.loop_layers import LoopGaussian, LoopGRU, LoopNormSiLU, linear_gradients, take_loop
from lawm.latent_action import LatentActionModel
from lawm.latents import GaussianLatent
from lawm.networks import MLP
from lawm.rssm import RSSM, ModelState

Choice = Callable[[int, Tensor, Tensor], Tensor]
"""From step t, the policy network's output and the parameters of p(u|s) to u."""


def imagine_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    policy: MLP,
    choice: Choice,
    start: ModelState,
    horizon: int,
) -> tuple[Tensor, Tensor]:
    """Imagined states under the policy; gradients reach the policy alone.

    Returns:
        Features ``(H + 1, N, D + Z)`` and the policy network's outputs ``(H, N, .)``.
    """
    loop = _Loop(rssm, latent_action, policy, choice, start, horizon)
    out: tuple[Tensor, Tensor] = _ImagineScan.apply(loop, *policy.parameters())  # type: ignore[no-untyped-call]
    return out


class _LoopMLP:
    """An :class:`~lawm.networks.MLP` without dropout at each time step."""

    def __init__(self, network: MLP, steps: int, rows: int, trained: bool) -> None:
        layers = [layer for layer in network.hidden.modules() if isinstance(layer, nn.Linear)]
        norms = [layer for layer in network.hidden.modules() if isinstance(layer, nn.LayerNorm)]
        self.layers = [
            LoopNormSiLU(linear, norm, steps, rows, trained)
            for linear, norm in zip(layers, norms, strict=True)
        ]
        self.weight, self.bias = network.output.weight.detach(), network.output.bias.detach()
        self.d_out = self.weight.new_empty(steps, rows, self.weight.shape[0]) if trained else None

    def forward(self, t: int, x: Tensor) -> Tensor:
        """``(N, I) -> (N, O)``."""
        for layer in self.layers:
            x = layer.forward(t, x)
        return torch.addmm(self.bias, x, self.weight.t())

    def backward(self, t: int, d_out: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the first layer before its norm, and that layer's weight."""
        if self.d_out is not None:
            self.d_out[t] = d_out
        d = d_out @ self.weight
        for layer in self.layers[:0:-1]:
            d = layer.backward(t, d) @ layer.weight
        return self.layers[0].backward(t, d), self.layers[0].weight

    def parameter_gradients(self, inputs: Tensor) -> list[Tensor]:
        """In the order of the network's parameters, from the inputs of all steps ``(T N, I)``."""
        assert self.d_out is not None
        gradients = []
        for layer in self.layers:
            gradients += [layer.weight_gradient(inputs), *layer.bias_scale_shift()]
            inputs = layer.out.flatten(0, 1)
        return [*gradients, *linear_gradients(self.d_out, self.layers[-1].out)]


class _Loop:
    """Buffers and both directions of the loop; the columns of ``state`` are h, z, u and x."""

    def __init__(
        self,
        rssm: RSSM,
        latent_action: LatentActionModel,
        policy: MLP,
        choice: Choice,
        start: ModelState,
        horizon: int,
    ) -> None:
        stoch, rows = rssm.latent, start.h.shape[0]
        assert isinstance(stoch, GaussianLatent)
        self.choice, self.horizon = choice, horizon
        self.deter, self.size = rssm.deter, rssm.feature_size
        self.with_u = self.size + latent_action.latent.size
        weight = rssm.transition_layer.linear.weight.detach()
        action_dim = weight.shape[1] - stoch.size

        self.state = weight.new_empty(horizon + 1, rows, self.with_u + action_dim)
        self.state[0, :, : self.size] = start.features.detach()
        self.z_params = weight.new_empty(horizon, rows, 2 * stoch.size)
        self.action = weight.new_empty(horizon, rows, action_dim)

        self.policy = _LoopMLP(policy, horizon, rows, trained=True)
        self.action_prior = _LoopMLP(latent_action.prior_network, horizon, rows, trained=False)
        layer = latent_action.decoder_layer
        self.decoder = LoopNormSiLU(layer.linear, layer.norm, horizon, rows, trained=False)
        self.decoder_weight = latent_action.decoder_output.weight.detach()
        self.decoder_bias = latent_action.decoder_output.bias.detach()
        layer = rssm.transition_layer
        self.of_z, self.of_x = weight[:, : stoch.size], weight[:, stoch.size :]
        unread = weight.new_zeros(weight.shape[0], latent_action.latent.size)
        wide = torch.cat([self.of_z, unread, self.of_x], dim=1)
        self.transition = LoopNormSiLU(layer.linear, layer.norm, horizon, rows, False, wide)
        cell = rssm.cell
        self.cell = LoopGRU(cell.linear, cell.norm, horizon, rows, self.state, trained=False)
        layer = rssm.prior_layer
        self.prior = LoopNormSiLU(layer.linear, layer.norm, horizon, rows, trained=False)
        self.prior_weight = rssm.prior_output.weight.detach()
        self.prior_bias = rssm.prior_output.bias.detach()
        z = self.state[1:, :, self.deter : self.size]
        noise = stoch.noise(weight, horizon, rows)
        self.z_sample = LoopGaussian(self.z_params, noise, stoch.min_std, z)
        self.graphs: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self) -> Tensor:
        """Fill the buffers; returns the policy network's outputs, (H, N, .)."""
        features, u, x = (
            part.unbind() for part in self.state.tensor_split([self.size, self.with_u], dim=2)
        )
        of_decoder = self.state[:, :, : self.with_u].unbind()
        of_transition = self.state[:, :, self.deter :].unbind()
        for t in range(self.horizon):
            raw = self.policy.forward(t, features[t]).requires_grad_()
            prior = self.action_prior.forward(t, features[t]).requires_grad_()
            with torch.enable_grad():
                chosen = self.choice(t, raw, prior)
            self.graphs.append((raw, prior, chosen))
            u[t].copy_(chosen.detach())
            hidden = self.decoder.forward(t, of_decoder[t])
            torch.addmm(self.decoder_bias, hidden, self.decoder_weight.t(), out=self.action[t])
            x[t].copy_(self.action[t].tanh_())
            self.cell.forward(t, self.transition.forward(t, of_transition[t]))
            hidden = self.prior.forward(t, self.cell.h[t + 1])
            torch.addmm(self.prior_bias, hidden, self.prior_weight.t(), out=self.z_params[t])
            self.z_sample.forward(t)
        return torch.stack([raw.detach() for raw, *_ in self.graphs])

    def backward(self, d_state: Tensor, d_raws: Tensor) -> list[Tensor]:
        """The policy's gradients; ``d_state`` gains what comes through later steps."""
        dh, dz = d_state[:, :, : self.deter].unbind(), d_state[:, :, self.deter :].unbind()
        of_s, of_u = torch.split(self.decoder.weight, [self.size, self.with_u - self.size], dim=1)
        d_params = torch.zeros_like(self.z_params)
        for t in range(self.horizon - 1, -1, -1):
            self.z_sample.backward(t, dz[t + 1], d_params[t])
            dy = self.prior.backward(t, d_params[t] @ self.prior_weight)
            dh[t + 1].addmm_(dy, self.prior.weight)
            dy = self.transition.backward(t, self.cell.backward(t, dh[t + 1], dh[t]))
            d_decoded = torch.ops.aten.tanh_backward(dy @ self.of_x, self.action[t])
            if t > 0:  # nothing asks for the gradient of the start
                dz[t].addmm_(dy, self.of_z)
            dy = self.decoder.backward(t, d_decoded @ self.decoder_weight)
            if t > 0:
                d_state[t].addmm_(dy, of_s)
            raw, prior, chosen = self.graphs[t]
            d_raw, d_prior = torch.autograd.grad(
                chosen,
                (raw, prior),
                dy @ of_u,
                allow_unused=True,  # u may be free of the prior
            )
            of_policy = self.policy.backward(t, d_raw.add_(d_raws[t]))
            if t > 0:
                d_state[t].addmm_(*of_policy)
            if t > 0 and d_prior is not None:
                d_state[t].addmm_(*self.action_prior.backward(t, d_prior))
        return self.policy.parameter_gradients(self.state[:-1, :, : self.size].flatten(0, 1))


class _ImagineScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        loop: _Loop,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        del parameters  # known to autograd by being arguments; the loop reads them
        raws = loop.forward()
        ctx.loop = loop
        return loop.state[:, :, : loop.size].contiguous(), raws

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_features: Tensor, d_raws: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        d_state = d_features.clone(memory_format=torch.contiguous_format)
        loop: _Loop = take_loop(ctx)
        return (None, *loop.backward(d_state, d_raws))


__all__ = ["Choice", "imagine_scan"]
