"""Latent variables: a diagonal Gaussian and a set of categoricals behind one interface.

Both the stochastic state z and the latent action u are one of these. A distribution is a plain
tensor of parameters, so that parameters of all time steps can be computed, stacked and compared in
one batched call; a :class:`Latent` object knows how to read them.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm.fused.gaussian_kl import gaussian_kl
from lawm.fused.kernels import kernels_usable
from lawm.fused.softplus import softplus

LatentKind = Literal["gaussian", "categorical"]


def _single(params: Tensor) -> Tensor:
    """In float32 where a network ran in a shorter type: KL and samples need the digits."""
    return params.float() if params.dtype in (torch.bfloat16, torch.float16) else params


class Latent(Protocol):
    """How to read a tensor of distribution parameters: the raw output of a network."""

    num_params: int  # size of the network output that parametrises the distribution
    size: int  # size of a sample

    def noise(self, like: Tensor, *shape: int) -> Tensor:
        """The randomness of samples of the given leading shape, for :meth:`sample`."""

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """A sample ``(..., size)`` through which gradients reach the parameters.

        Noise of zeros gives the mode.
        """

    def mode(self, params: Tensor) -> Tensor:
        """The most likely value ``(..., size)``."""

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """``KL(p || q)`` in nats, one number per independent part: ``(..., parts)``."""

    def total_kl(self, p: Tensor, q: Tensor) -> Tensor:
        """:meth:`kl` summed over the parts, ``(..., )``."""


class GaussianLatent:
    """``size`` independent Gaussians; the parameters are means and raw standard deviations."""

    def __init__(self, size: int, min_std: float = 0.1) -> None:
        self.size = size
        self.num_params = 2 * size
        self.min_std = min_std

    def mean_std(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(..., size)``."""
        params = _single(params)
        mean, raw_std = params.chunk(2, dim=-1)
        positive = softplus(raw_std) if kernels_usable(params) else F.softplus(raw_std)
        return mean, positive + self.min_std

    def noise(self, like: Tensor, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, self.size, dtype=like.dtype, device=like.device)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Reparametrised: ``mean + std * noise``."""
        mean, std = self.mean_std(params)
        return torch.addcmul(mean, std, noise)

    def mode(self, params: Tensor) -> Tensor:
        """The mean."""
        return _single(params)[..., : self.size]

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """``log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2`` for each dimension."""
        mean_p, std_p = self.mean_std(p)
        mean_q, std_q = self.mean_std(q)
        ratio = std_p / std_q
        return 0.5 * (ratio.square() + ((mean_p - mean_q) / std_q).square() - 1.0) - ratio.log()

    def total_kl(self, p: Tensor, q: Tensor) -> Tensor:
        """:meth:`kl` summed over the dimensions, ``(..., )``."""
        if kernels_usable(p) and kernels_usable(q):
            return gaussian_kl(p, q, self.min_std)
        return self.kl(p, q).sum(dim=-1)


class CategoricalLatent:
    """``groups`` categoricals of ``classes`` classes, one-hot, straight-through gradients.

    The parameters are logits. One per cent of uniform is mixed into the probabilities, which bounds
    the KL (DreamerV3).
    """

    def __init__(self, groups: int, classes: int, uniform: float = 0.01) -> None:
        self.groups = groups
        self.classes = classes
        self.size = groups * classes
        self.num_params = groups * classes
        self.uniform = uniform

    def log_probs(self, params: Tensor) -> Tensor:
        """Log-probabilities ``(..., groups, classes)``."""
        probs = _single(params).view(*params.shape[:-1], self.groups, self.classes).softmax(dim=-1)
        return ((1.0 - self.uniform) * probs + self.uniform / self.classes).log()

    def noise(self, like: Tensor, *shape: int) -> Tensor:
        """Standard Gumbel."""
        exponential = torch.empty(*shape, self.size, dtype=like.dtype, device=like.device)
        return -exponential.exponential_().clamp_min(1e-20).log()

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """One-hot by the Gumbel-max trick; the gradient is that of the probabilities."""
        log_probs = self.log_probs(params)
        index = (log_probs + noise.view_as(log_probs)).argmax(dim=-1)
        return self._straight_through(log_probs, index)

    def mode(self, params: Tensor) -> Tensor:
        """One-hot of the most likely class, with the gradient of the probabilities."""
        log_probs = self.log_probs(params)
        return self._straight_through(log_probs, log_probs.argmax(dim=-1))

    def _straight_through(self, log_probs: Tensor, index: Tensor) -> Tensor:
        probs = log_probs.exp()
        one_hot = F.one_hot(index, self.classes).to(probs.dtype)
        return (one_hot + probs - probs.detach()).flatten(-2)

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """``sum_c p_c (log p_c - log q_c)`` for each group."""
        log_p, log_q = self.log_probs(p), self.log_probs(q)
        return (log_p.exp() * (log_p - log_q)).sum(dim=-1)

    def total_kl(self, p: Tensor, q: Tensor) -> Tensor:
        """:meth:`kl` summed over the groups, ``(..., )``."""
        return self.kl(p, q).sum(dim=-1)


def make_latent(kind: LatentKind, size: int, classes: int) -> Latent:
    """A latent by name: ``size`` Gaussian dimensions, or ``size`` categoricals of ``classes``."""
    return GaussianLatent(size) if kind == "gaussian" else CategoricalLatent(size, classes)


__all__ = ["CategoricalLatent", "GaussianLatent", "Latent", "LatentKind", "make_latent"]
