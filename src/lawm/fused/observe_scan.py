"""The filter's loop over time, forward and backward in C.

What :func:`lawm.filtering.filter_windows` does step by step for Gaussian latents and the action as
transition input. Afterwards one product over all steps makes each weight's gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.observe_loop import ObserveInputs, ObserveLoop, modules_of
from lawm.fused.plans import Lease, Plans
from lawm.latent_action import LatentActionModel
from lawm.rssm import RSSM


def observe_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    embed_projected: Tensor,
    inverse_projected: Tensor,
    inputs: ObserveInputs,
    *,
    plans: Plans[ObserveLoop],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Filter a batch of windows.

    Args:
        rssm: The recurrence.
        latent_action: The inverse posterior and the decoder.
        embed_projected: :meth:`~lawm.rssm.RSSM.project_embed`, ``(T + 1, B, hidden)``.
        inverse_projected: :meth:`~lawm.latent_action.LatentActionModel.project_transition` of the
            action-free rows, ``(T, F, hidden)``.
        inputs: The rest.
        plans: Of whoever owns both.

    Returns:
        Features s ``(T + 1, B, D + Z)``, parameters of q(z) ``(T + 1, B, 2 Z)`` and of q_free(u)
        ``(T, F, 2 U)``, and, as constants, the inferred actions ``(T, F, A)``.
    """
    parameters = [p for m in modules_of(rssm, latent_action) for p in m.parameters()]
    embed_projected = embed_projected.float().contiguous()
    inverse_projected = inverse_projected.float().contiguous()
    wanted = (embed_projected, inverse_projected, *parameters)
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in wanted)
    sizes = inputs.action.shape[0], inputs.z_noise.shape[1], inputs.action.shape[1]
    lease = plans.lease(
        (*sizes, trained), lambda: ObserveLoop(rssm, latent_action, *sizes, trained)
    )
    lease.plan.use(rssm, latent_action)
    out: tuple[Tensor, Tensor, Tensor, Tensor] = _ObserveScan.apply(lease, inputs, *wanted)  # type: ignore[no-untyped-call]
    return out


class _ObserveScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        lease: Lease[ObserveLoop],
        inputs: ObserveInputs,
        embed_projected: Tensor,
        inverse_projected: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        out = lease.plan.forward(inputs, embed_projected, inverse_projected)
        of_loop = inputs.z_noise, out.z_params, out.u_params, out.decoded
        ctx.save_for_backward(embed_projected, inverse_projected, *of_loop, *parameters)
        ctx.lease = lease
        ctx.set_materialize_grads(False)  # so that a result that nothing trains is seen as such
        ctx.mark_non_differentiable(out.decoded)
        return out.features, out.z_params, out.u_params, out.decoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        embed, following, *saved = ctx.saved_tensors
        _, z_params, u_params, _ = of_loop = saved[:4]
        loop: ObserveLoop = ctx.lease.plan
        of_features, of_z, of_u, _ = d_outputs
        d_z, d_u = _own(of_z, z_params), None
        if of_u is not None or loop.call.x_gradient:
            d_u = _own(of_u, u_params)
        d_decoded = loop.backward(of_loop, 0.0 if of_features is None else of_features, d_z, d_u)
        gradients = loop.parameter_gradients(d_z, d_u, d_decoded)
        d_embed = loop.posterior.dy
        d_following = None if d_u is None else loop.inverse.dy
        assert d_embed is not None
        return (
            None,
            None,
            d_embed.view_as(embed),
            None if d_following is None else d_following.view_as(following),
            *gradients,
        )


def _own(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A copy to work on; zeros where there is none."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.clone(memory_format=torch.contiguous_format)


__all__ = ["observe_scan"]
