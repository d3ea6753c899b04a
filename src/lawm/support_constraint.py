"""Keeping the policy inside the support of the latent-action prior.

The policy's raw sample v is mapped into a region around p(u|s):

    box      u = mu_p + eps * sigma_p * tanh(v)                       C-LAP (arXiv 2411.04562)
    ball     u = mu_p + eps * sigma_p * sqrt(d) * v tanh(|v|) / |v|
    sphere   u = mu_p + eps * sigma_p * sqrt(d) * v / |v|
    none     u = v

A Gaussian in d dimensions has its mass near the sphere of radius sqrt(d) standard deviations. For a
categorical latent action the box bounds log-probability ratios: logits = log p + eps * tanh(v), our
own derivation; ball and sphere have no meaning there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm.errors import LawmError
from lawm.latents import CategoricalLatent, GaussianLatent, Latent

ConstraintName = Literal["box", "ball", "sphere", "none"]


@dataclass(frozen=True)
class ConstraintConfig:
    """The region around the latent-action prior that the policy cannot leave.

    It is the outer bound; how far the policy goes inside it is weighed by ``prior_weight`` of
    :class:`~lawm.policy_module.LatentPolicyModule`.

    Args:
        kind: Geometry of the region around p(u|s).
        epsilon: Its size in standard deviations of the prior.
    """

    kind: ConstraintName = "box"
    epsilon: float = 2.0


class SupportConstraint(Protocol):
    """Maps the policy's raw sample to a latent action."""

    kind: ConstraintName
    extent: float  # of the region, in standard deviations of the prior or in log-probability
    size: int  # dimensions of v

    def apply(self, prior: Tensor, v: Tensor, stochastic: bool) -> Tensor:
        """``p(u|s)`` parameters ``(..., ·)`` and v ``(..., size)`` to u ``(..., U)``."""

    def log_det(self, v: Tensor) -> Tensor:
        """Log-volume of the squashing of v, ``(..., )``; enters the policy's entropy."""

    def half_square(self, v: Tensor) -> Tensor:
        """Half the squared distance of u from the prior's mean in its deviations, ``(..., )``.

        Up to a constant ``-log p(u|s)``: with the entropy it makes KL(pi||p).
        """


class Box:
    """A box of ``eps`` standard deviations."""

    def __init__(self, latent: GaussianLatent, eps: float) -> None:
        self.latent = latent
        self.size = latent.size
        self.kind: ConstraintName = "box"
        self.extent = eps

    def apply(self, prior: Tensor, v: Tensor, stochastic: bool) -> Tensor:
        """``mu + eps sigma tanh(v)``."""
        del stochastic
        mean, std = self.latent.mean_std(prior)
        return torch.addcmul(mean, std, torch.tanh(v), value=self.extent)

    def log_det(self, v: Tensor) -> Tensor:
        """``sum log(1 - tanh(v)^2)``, in its numerically stable form."""
        return (2.0 * (math.log(2.0) - v - F.softplus(-2.0 * v))).sum(dim=-1)

    def half_square(self, v: Tensor) -> Tensor:
        """``sum (eps tanh(v))^2 / 2``."""
        return 0.5 * (self.extent * torch.tanh(v)).square().sum(dim=-1)


class Ball:
    """A ball (or its surface) of radius ``eps sqrt(d)`` standard deviations."""

    def __init__(self, latent: GaussianLatent, eps: float, surface: bool) -> None:
        self.latent = latent
        self.size = latent.size
        self.kind: ConstraintName = "sphere" if surface else "ball"
        self.extent = eps * math.sqrt(latent.size)  # the radius

    def apply(self, prior: Tensor, v: Tensor, stochastic: bool) -> Tensor:
        """``mu + radius sigma v/|v|``, times ``tanh |v|`` inside the ball."""
        del stochastic
        mean, std = self.latent.mean_std(prior)
        norm = v.square().sum(dim=-1, keepdim=True).add(1e-6).sqrt()
        direction = v / norm if self.kind == "sphere" else v * (torch.tanh(norm) / norm)
        return torch.addcmul(mean, std, direction, value=self.extent)

    def log_det(self, v: Tensor) -> Tensor:
        """Zero: the bonus is the raw sample's entropy."""
        return v.new_zeros(v.shape[:-1])

    def half_square(self, v: Tensor) -> Tensor:
        """``(radius tanh |v|)^2 / 2``, or that of the radius on the sphere."""
        if self.kind == "sphere":
            return v.new_full(v.shape[:-1], 0.5 * self.extent**2)
        norm = v.square().sum(dim=-1).add(1e-6).sqrt()
        return 0.5 * (self.extent * torch.tanh(norm)).square()


class Unconstrained:
    """u is the raw sample; the prior plays no part. What goes wrong without a constraint."""

    def __init__(self, latent: GaussianLatent) -> None:
        self.kind: ConstraintName = "none"
        self.extent = math.inf
        self.size = latent.size

    def apply(self, prior: Tensor, v: Tensor, stochastic: bool) -> Tensor:
        """V."""
        del prior, stochastic
        return v

    def log_det(self, v: Tensor) -> Tensor:
        """Zero."""
        return v.new_zeros(v.shape[:-1])

    def half_square(self, v: Tensor) -> Tensor:
        """Zero: nothing is known of the distance."""
        return v.new_zeros(v.shape[:-1])


class LogRatioBox:
    """Categorical: logits within ``eps`` of the prior's log-probabilities, or free of the prior."""

    def __init__(self, latent: CategoricalLatent, eps: float | None) -> None:
        self.latent = latent
        self.size = latent.size
        self.kind: ConstraintName = "none" if eps is None else "box"
        self.extent = math.inf if eps is None else eps

    def apply(self, prior: Tensor, v: Tensor, stochastic: bool) -> Tensor:
        """A one-hot sample, or the most likely one, with straight-through gradients."""
        logits = v
        if self.kind == "box":
            logits = self.latent.log_probs(prior).flatten(-2) + self.extent * torch.tanh(v)
        if stochastic:
            return self.latent.sample(logits, self.latent.noise(logits, *logits.shape[:-1]))
        return self.latent.mode(logits)

    def log_det(self, v: Tensor) -> Tensor:
        """Zero."""
        return v.new_zeros(v.shape[:-1])

    def half_square(self, v: Tensor) -> Tensor:
        """``KL(pi||p)`` to second order in the ratios under a uniform prior."""
        if self.kind == "none":
            return v.new_zeros(v.shape[:-1])
        ratios = self.extent * torch.tanh(v)
        ratios = ratios.reshape(*v.shape[:-1], -1, self.latent.classes)
        return 0.5 * ratios.var(dim=-1, correction=0).sum(dim=-1)


def make_constraint(name: ConstraintName, latent: Latent, eps: float) -> SupportConstraint:
    """A constraint by name.

    Raises:
        LawmError: ``eps`` is not positive, or a geometry that has no meaning for the latent.
    """
    if eps <= 0:
        raise LawmError(
            f"policy.constraint.epsilon is {eps}; it is a number of standard deviations of the "
            "latent-action prior and must be above 0. Values from 0.25 to 2 are usual."
        )
    if isinstance(latent, CategoricalLatent):
        if name in ("ball", "sphere"):
            raise LawmError(
                f"policy.constraint.kind is '{name}', but the latent action is categorical, where "
                "only 'box' (bounded log-probability ratios) and 'none' have a meaning."
            )
        return LogRatioBox(latent, eps if name == "box" else None)
    assert isinstance(latent, GaussianLatent)
    if name == "box":
        return Box(latent, eps)
    if name == "none":
        return Unconstrained(latent)
    return Ball(latent, eps, surface=name == "sphere")


__all__ = ["ConstraintConfig", "ConstraintName", "SupportConstraint", "make_constraint"]
