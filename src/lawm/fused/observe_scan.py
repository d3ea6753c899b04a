"""The filter's loop over time, forward and backward in C.

What :func:`lawm.filtering.filter_windows` does step by step for Gaussian latents and the action as
transition input. Afterwards one product over all steps makes each weight's gradient.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lawm.fused.layers import BlockCell, BlockLayer, PackedLinear
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
from lawm.networks import NormedLinear
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


def observe_scan(
    rssm: RSSM,
    latent_action: LatentActionModel,
    embed_projected: Tensor,
    inverse_projected: Tensor,
    inputs: ObserveInputs,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Filter a batch of windows.

    Args:
        rssm: The recurrence.
        latent_action: The inverse posterior and the decoder.
        embed_projected: :meth:`~lawm.rssm.RSSM.project_embed`, ``(T + 1, B, hidden)``.
        inverse_projected: :meth:`~lawm.latent_action.LatentActionModel.project_transition` of the
            action-free rows, ``(T, F, hidden)``.
        inputs: The rest.

    Returns:
        Features s ``(T + 1, B, D + Z)``, parameters of q(z) ``(T + 1, B, 2 Z)`` and of q_free(u)
        ``(T, F, 2 U)``, and, as constants, the inferred actions ``(T, F, A)``.
    """
    parameters = [p for module in _modules(rssm, latent_action) for p in module.parameters()]
    embed_projected = embed_projected.float().contiguous()
    inverse_projected = inverse_projected.float().contiguous()
    wanted = (embed_projected, inverse_projected, *parameters)
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in wanted)
    loop = _Loop(rssm, latent_action, inputs, trained)
    out: tuple[Tensor, Tensor, Tensor, Tensor] = _ObserveScan.apply(loop, *wanted)  # type: ignore[no-untyped-call]
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
    """Buffers of both directions of the loop.

    The columns of ``state`` are h, z, u and x, so that what a layer reads lies side by side; the
    transition layer, which reads z and x, has zero weights for u.
    """

    def __init__(
        self, rssm: RSSM, latent_action: LatentActionModel, inputs: ObserveInputs, trained: bool
    ) -> None:
        self.inputs = inputs
        steps, labelled, action_dim = inputs.action.shape
        rows = inputs.z_noise.shape[1]
        free = rows - labelled
        stoch, latent = rssm.latent, latent_action.latent
        assert isinstance(stoch, GaussianLatent)
        assert isinstance(latent, GaussianLatent)
        self.rows, self.labelled = rows, labelled
        self.deter, self.size = rssm.deter, rssm.feature_size
        self.with_u = self.size + latent.size
        weight = rssm.transition_layer.linear.weight.detach()
        self.state = weight.new_zeros(steps + 1, rows, self.with_u + action_dim)
        self.state[:-1, :labelled, self.with_u :] = inputs.action
        self.z_params = weight.new_empty(steps + 1, rows, 2 * stoch.size)
        self.u_params = weight.new_empty(steps, free, 2 * latent.size)
        actions = latent_action.decoder_output.out_features  # x may have an input more
        self.decoded = weight.new_empty(steps, free, actions)

        def layer(of: NormedLinear, rows: int, weight: Tensor | None = None) -> BlockLayer:
            # its output is needed by the next layer of the block, so it is always kept
            return BlockLayer(of.linear, of.norm, rows, trained, weight=weight, keep_out=True)

        self.columns = [stoch.size, latent.size, action_dim]
        of_z, of_x = torch.split(weight, [stoch.size, action_dim], dim=1)
        wide = torch.cat([of_z, weight.new_zeros(weight.shape[0], latent.size), of_x], dim=1)
        self.posterior = layer(rssm.posterior_layer, (steps + 1) * rows)
        self.transition = layer(rssm.transition_layer, steps * rows, wide)
        self.inverse = layer(latent_action.inverse_layer, steps * free)
        self.decoder = layer(latent_action.decoder_layer, steps * free)
        self.cell = BlockCell(rssm.cell.linear, rssm.cell.norm, steps * rows, trained)
        self._outputs = [
            PackedLinear.of(linear)
            for linear in (
                rssm.posterior_output,
                latent_action.inverse_output,
                latent_action.decoder_output,
            )
        ]
        self.call = CObserve(
            threads=torch.get_num_threads(),
            block=block_rows(rows),
            steps=steps,
            rows=rows,
            labelled=labelled,
            deter=rssm.deter,
            stoch=stoch.size,
            latent=latent.size,
            action=action_dim,
            z_min_std=stoch.min_std,
            x_gradient=inputs.inverse_gradient,
            posterior_output=self._outputs[0].structure,
            inverse_output=self._outputs[1].structure,
            decoder_output=self._outputs[2].structure,
            z_noise=address(inputs.z_noise),
            state=address(self.state),
            z_params=address(self.z_params),
            u_params=address(self.u_params),
            decoded=address(self.decoded),
        )

    def _run(self, name: str) -> None:
        for layer in ("posterior", "transition", "inverse", "decoder", "cell"):
            setattr(self.call, layer, getattr(self, layer).structure)
        run_kernel(name, self.call)

    def forward(self, embed_projected: Tensor, inverse_projected: Tensor) -> None:
        """Fill the buffers."""
        self.call.embed, self.call.next = address(embed_projected), address(inverse_projected)
        self._run("lawm_observe_forward")

    def backward(
        self, d_features: Tensor | float, d_z_params: Tensor, d_u_params: Tensor | None
    ) -> Tensor | None:
        """Turn the gradients of both parameters, in place, into those with all later steps' part.

        ``d_u_params`` is None where nothing trains what infers actions: that part of the loop is
        left out then.

        Returns:
            The gradient of the decoded actions before their tanh, ``(T, F, A)``, where the
            dynamics train what infers them.
        """
        d_state = torch.empty_like(self.state)
        d_decoded = torch.empty_like(self.decoded) if self.inputs.inverse_gradient else None
        d_state[:, :, : self.size] = d_features
        d_state[:, :, self.size :] = 0.0
        trained = [self.posterior, self.transition, self.cell]
        trained += [self.inverse] if d_u_params is not None else []
        trained += [self.decoder] if d_decoded is not None else []
        for layer in trained:
            layer.prepare_backward(num_blocks(self.rows))
        self.call.d_state, self.call.d_decoded = address(d_state), address(d_decoded)
        self.call.d_z_params, self.call.d_u_params = address(d_z_params), address(d_u_params)
        self._run("lawm_observe_backward")
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
        of_z, _, of_x = torch.split(of_transition[0], self.columns, dim=1)
        h = self.state[:, :, : self.deter]
        return [
            *_without_bias(_layer_and_output(self.posterior, self._outputs[0], h, d_z_params)),
            *(torch.cat([of_z, of_x], dim=1), *of_transition[1:]),
            *self.cell.parameter_gradients(hidden, _rows(before[:, :, : self.deter])),
            *_without_bias(
                _layer_and_output(
                    self.inverse, self._outputs[1], free[:, :, : self.size], d_u_params
                )
            ),
            *_layer_and_output(
                self.decoder, self._outputs[2], free[:, :, : self.with_u], d_decoded
            ),
        ]


def _layer_and_output(
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


class _ObserveScan(Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        loop: _Loop,
        embed_projected: Tensor,
        inverse_projected: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        loop.forward(embed_projected, inverse_projected)
        ctx.save_for_backward(embed_projected, inverse_projected, *parameters)
        ctx.loop = loop
        ctx.set_materialize_grads(False)  # so that a result that nothing trains is seen as such
        # detached: an output that the graph itself holds on to would never be freed
        features = loop.state[:, :, : loop.size].contiguous()
        decoded = loop.decoded.detach()
        ctx.mark_non_differentiable(decoded)
        return features, loop.z_params.detach(), loop.u_params.detach(), decoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        embed, following, *_ = ctx.saved_tensors
        loop: _Loop = ctx.loop
        of_features, of_z, of_u, _ = d_outputs
        d_z, d_u = _own(of_z, loop.z_params), None
        if of_u is not None or loop.inputs.inverse_gradient:
            d_u = _own(of_u, loop.u_params)
        d_decoded = loop.backward(0.0 if of_features is None else of_features, d_z, d_u)
        gradients = loop.parameter_gradients(d_z, d_u, d_decoded)
        d_embed, d_next = loop.posterior.dy, loop.inverse.dy
        assert d_embed is not None
        d_following = None if d_next is None else d_next.view_as(following)
        return None, d_embed.view_as(embed), d_following, *gradients


def _own(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A copy to work on; zeros where there is none."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.clone(memory_format=torch.contiguous_format)


__all__ = ["ObserveInputs", "observe_scan"]
