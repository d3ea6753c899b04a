"""Imagination's loop over time, forward and backward in C; the world model is frozen.

What :func:`lawm.imagination.imagine` does step by step, for Gaussian latents and the action as
transition input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.imagine_loop import Choice, ImagineLoop
from lawm.fused.plans import Lease, Plans
from lawm.latent_action import LatentActionModel
from lawm.networks import MLP
from lawm.rssm import RSSM, ModelState


def imagine_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    policy: MLP,
    choice: Choice,
    u_noise: Tensor,
    start: ModelState,
    *,
    plans: Plans[ImagineLoop],
) -> tuple[Tensor, Tensor, Tensor]:
    """Imagined states under the policy; gradients reach the policy alone.

    Args:
        rssm: The recurrence.
        latent_action: The prior of u and the decoder.
        policy: The policy's network.
        choice: From its output to u.
        u_noise: ``(H, N, U)``.
        start: N rows.
        plans: Of whoever owns the policy.

    Returns:
        Features ``(H + 1, N, D + Z)``, once more those behind each step ``(H, N, D + Z)``, whose
        gradient needs no copy, and the policy network's outputs ``(H, N, 2 U)``.
    """
    parameters = list(policy.parameters())
    trained = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
    sizes = u_noise.shape[0], u_noise.shape[1]
    layers = ((linear, norm.eps) for linear, norm, _ in policy.hidden_layers())
    lease = plans.lease(
        (*sizes, choice, trained, rssm, latent_action, *layers, policy.output),
        lambda: ImagineLoop(rssm, latent_action, policy, choice, *sizes, trained),
    )
    lease.plan.use(rssm, latent_action)
    noise = rssm.latent.noise(u_noise, *sizes), u_noise.contiguous()
    out: tuple[Tensor, Tensor, Tensor] = _ImagineScan.apply(  # type: ignore[no-untyped-call]
        lease, policy, noise, start, *parameters
    )
    return out


class _ImagineScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        lease: Lease[ImagineLoop],
        policy: MLP,
        noise: tuple[Tensor, Tensor],
        start: ModelState,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        state, raw = lease.plan.forward(policy, noise, start)
        features = state[:, :, : lease.plan.size]
        # the loop reads the parameters again by their addresses
        ctx.save_for_backward(*noise, state, raw, *parameters)
        ctx.lease = lease
        ctx.set_materialize_grads(False)
        return features, features[1:], raw.detach()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        d_features: Tensor | None,
        d_after: Tensor | None,
        d_raw: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        z_noise, u_noise, state, raw, *_ = ctx.saved_tensors
        loop: ImagineLoop = ctx.lease.plan
        d_raw = torch.zeros_like(raw) if d_raw is None else d_raw.clone()
        d_outputs = d_features, d_after, d_raw.contiguous()
        gradients = loop.backward((z_noise, u_noise), state, raw, *d_outputs)
        return None, None, None, None, *gradients


__all__ = ["imagine_scan"]
