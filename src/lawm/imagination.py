"""Imagined trajectories: the policy inside the frozen world model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.fused.imagine_loop import Choice, ImagineLoop
from lawm.fused.imagine_scan import imagine_scan
from lawm.fused.kernels import kernels_usable
from lawm.fused.layer_stack import MAX_LAYERS
from lawm.fused.plans import Plans
from lawm.latents import GaussianLatent
from lawm.networks import MLP
from lawm.rssm import ModelState
from lawm.support_constraint import SupportConstraint
from lawm.transition_input import ActionInput
from lawm.world_model import WorldModel

MEAN_BOUND = 5.0  # of the policy's mean, where tanh is flat


@dataclass(frozen=True)
class ImaginedTrajectory:
    """H imagined steps from N starts, time first; gradients reach the policy through it."""

    features: Tensor  # (H + 1, N, D + Z)
    after: Tensor  # (H, N, D + Z), features[1:], whose gradient costs less than a slice's
    reward: Tensor  # (H, N), r_t of the transition s_t -> s_{t+1}
    continuation: Tensor  # (H, N), probability that s_t -> s_{t+1} was not terminal
    entropy: Tensor  # (H, N), one-sample estimate of the policy's entropy in nats
    half_square: Tensor  # (H, N), SupportConstraint.half_square: how far u is from the prior's mean
    mode_half_square: Tensor  # (H, N), how far the policy's mode is; no gradient
    choice: Tensor  # (H, N, size), the policy's v
    latent_action: Tensor | None  # (H, N, U), u where v does not decide it: it was drawn


class LatentPolicy(nn.Module):
    """pi(v | s): a Gaussian over the constraint's raw sample.

    Args:
        features: Size of s.
        size: Dimensions of v.
        hidden: Width.
        num_layers: Hidden layers.
        min_std: Bounds of the standard deviation.
        max_std: See ``min_std``.
    """

    def __init__(
        self,
        features: int,
        size: int,
        hidden: int,
        num_layers: int,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = MLP(features, hidden, 2 * size, num_layers, output_scale=0.1)
        self.min_std, self.max_std = min_std, max_std
        self.imagine_plans: Plans[ImagineLoop] = Plans()

    def distribution(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of v, each ``(..., size)``, from the network's output."""
        mean, raw_std = raw.chunk(2, dim=-1)
        std = self.min_std + (self.max_std - self.min_std) * torch.sigmoid(raw_std)
        return MEAN_BOUND * torch.tanh(mean / MEAN_BOUND), std


def imagine(
    model: WorldModel,
    policy: LatentPolicy,
    constraint: SupportConstraint,
    start: ModelState,
    horizon: int,
) -> ImaginedTrajectory:
    """``horizon`` steps of the prior under the policy from ``start`` (N rows).

    The action that enters the model is the decoder's mean: sampled decoder noise teaches nothing
    and hands the policy a noisy gradient.
    """
    like = start.h  # drawn where it is used: a copy from the host waits for the device
    noise = torch.randn(
        horizon, like.shape[0], constraint.size, dtype=like.dtype, device=like.device
    )

    if _scan_applies(model, policy):
        choice = Choice(
            constraint.kind, constraint.extent, policy.min_std, policy.max_std, MEAN_BOUND
        )
        features, after, raw = imagine_scan(
            model.rssm,
            model.latent_action,
            policy.network,
            choice,
            noise,
            start,
            plans=policy.imagine_plans,
        )
        drawn = None
    else:
        features, raw, u = _step_by_step(model, policy, constraint, noise, start)
        after = features[1:]
        drawn = None if isinstance(model.latent_action.latent, GaussianLatent) else u
    logit = model.continue_logit(after)
    # entropy of v up to a constant, plus the log-volume of the squashing
    mean, std = policy.distribution(raw)
    v = torch.addcmul(mean, std, noise)
    entropy = std.log().sum(dim=-1) + constraint.log_det(v)
    reward = model.reward(after)
    return ImaginedTrajectory(
        features=features,
        after=after,
        reward=reward,
        continuation=torch.ones_like(reward) if logit is None else torch.sigmoid(logit),
        entropy=entropy,
        half_square=constraint.half_square(v),
        mode_half_square=constraint.half_square(mean.detach()),
        choice=v,
        latent_action=drawn,
    )


@torch.no_grad()
def rollout_reward(
    model: WorldModel,
    policy: LatentPolicy,
    constraint: SupportConstraint,
    start: ModelState,
    num_steps: int,
) -> Tensor:
    """Mean imagined reward of the policy as it acts, from each of N starts: ``(N,)``.

    The policy is at its mean, as in the environment; the model's z is sampled. Rewards behind the
    end of an episode count as zero.
    """
    rssm, state = model.rssm.bind(), start
    alive = torch.ones(start.h.shape[0], device=start.h.device)
    total = torch.zeros_like(alive)
    for _ in range(num_steps):
        mean, _ = policy.distribution(policy.network(state.features))
        prior = model.latent_action.prior(state.features)
        u = constraint.apply(prior, mean, stochastic=False)
        action = model.latent_action.decode(state.features, u)
        state = model.imagine_step(rssm, state, model.transition_input.act(u, action))
        total += alive * model.reward(state.features)
        if (logit := model.continue_logit(state.features)) is not None:
            alive *= torch.sigmoid(logit)
    return total / num_steps


def _scan_applies(model: WorldModel, policy: LatentPolicy) -> bool:
    weight = model.rssm.cell.linear.weight
    return (
        kernels_usable(weight)
        and not weight.requires_grad  # it gives no gradients of the model
        and isinstance(model.rssm.latent, GaussianLatent)
        and isinstance(model.latent_action.latent, GaussianLatent)
        and isinstance(model.transition_input, ActionInput)
        and len(policy.network.hidden) <= MAX_LAYERS
    )


def _step_by_step(
    model: WorldModel,
    policy: LatentPolicy,
    constraint: SupportConstraint,
    noise: Tensor,
    start: ModelState,
) -> tuple[Tensor, Tensor, Tensor]:
    """Any latents, any transition input, any device; autograd follows each operator."""
    state, rssm = start, model.rssm.bind()
    features, raws, taken = [state.features], [], []
    for noise_of_step in noise.unbind():
        raw = policy.network(features[-1])
        prior = model.latent_action.prior(features[-1])
        v = torch.addcmul(*policy.distribution(raw), noise_of_step)
        u = constraint.apply(prior, v, stochastic=True)
        action = model.latent_action.decode(features[-1], u)
        state = model.imagine_step(rssm, state, model.transition_input.act(u, action))
        features.append(state.features)
        raws.append(raw)
        taken.append(u)
    return torch.stack(features), torch.stack(raws), torch.stack(taken)


__all__ = ["ImaginedTrajectory", "LatentPolicy", "imagine", "rollout_reward"]
