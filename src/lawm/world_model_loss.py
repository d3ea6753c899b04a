"""The losses of stage 1, by source: labelled rows and action-free rows.

    labelled     - log p(o) - log p(r) - log p(a|s,u) + KL(q(z)||p(z)) + beta_u KL(q_act||p(u))
    action-free  - log p(o) (- log p(r)) + KL(q(z)||p(z)) + beta_u KL(q_free||p(u))
                 and, with self_labels, - log p(a|s,u) + beta_u KL(q_act||p(u)) in place of q_free's
                 KL, where a = sg(mean of p(a|s, mode of q_free))
    alignment    on labelled rows: - log p(a|s, u ~ q_free) + KL(sg(q_act)||q_free)

The alignment is our own derivation. The loss is a mean over the rows of a batch; what labelled rows
alone can teach weighs as if all could: see :func:`term_factors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm.batch import Batch
from lawm.gradients import scaled_gradient
from lawm.latent_action import DecoderExample
from lawm.latents import Latent
from lawm.transition_input import ActionInput
from lawm.world_model import Observed, WorldModel, first_rows


@dataclass(frozen=True)
class LossCoefficients:
    """Weight of each loss term; the terms carry the same names.

    Args:
        observation: Reconstruction of the observations.
        reward: Reward of the rows where it is known.
        continuation: Whether the episode goes on.
        state_kl: KL of the stochastic state, balanced and with free nats.
        action: -log p(a|s,u) with u ~ q_act; of action-free rows with self_labels.
        align_action: -log p(a|s,u) with u ~ q_free, labelled rows.
        align_kl: KL(sg(q_act)||q_free), labelled rows.
    """

    observation: float = 1.0
    reward: float = 1.0
    continuation: float = 1.0
    state_kl: float = 1.0
    action: float = 1.0
    align_action: float = 1.0
    align_kl: float = 0.1

    def as_tensor(self) -> Tensor:
        """In the order of the fields."""
        return torch.tensor([getattr(self, field.name) for field in fields(self)])


@dataclass(frozen=True)
class LossOptions:
    """How the terms are computed.

    Args:
        kl_balance: Share of the state KL's gradient that trains the prior (DreamerV2, Alg. 2).
        free_nats: The state KL below this many nats a step is not pushed further.
        reward_std: Standard deviation of p(r|s), in units of a reward's size.
        inverse_kl_gradient: Factor on the gradient of the action-free rows' KL(q_free||p) that
            reaches q_free; 0 lets it train the prior alone. None: 0 where u reaches the dynamics
            through a bounded action and beta is set by hand, else 1. Without self_labels.
        self_labels: Where u reaches the dynamics through a bounded action, train q_act, decoder and
            prior on action-free rows as on labelled ones, with the action that q_free infers there
            in place of the real one. Otherwise no decoder and no q_act ever sees their states.
        labelled_weight: Weight of a labelled row; its ratio to the other's is what counts.
        action_free_weight: Weight of an action-free row.
        share_weights: Give a source's weight in a term that it lacks, such as unknown rewards, to
            the other: what labelled rows alone teach then counts as where all rows are labelled.
        labelled_warmup_steps: First updates, in which labelled rows alone train.
    """

    kl_balance: float = 0.8
    free_nats: float = 0.5
    reward_std: float = 0.3
    inverse_kl_gradient: float | None = None
    self_labels: bool = True
    labelled_weight: float = 1.0
    action_free_weight: float = 1.0
    share_weights: bool = True
    labelled_warmup_steps: int = 0

    def at(self, step: int) -> LossOptions:
        """The options of update number ``step``, counted from 0."""
        warm = step >= self.labelled_warmup_steps
        return self if warm else replace(self, action_free_weight=0.0)

    def source_weights(self, batch: Batch) -> tuple[float, float]:
        """Of the means over labelled and action-free rows; they sum to 1, or both are 0."""
        labelled = self.labelled_weight * batch.num_labelled
        free = self.action_free_weight * (batch.num_rows - batch.num_labelled)
        total = (labelled + free) or 1.0
        return labelled / total, free / total


@dataclass(frozen=True)
class SourceTerms:
    """Means over the rows of one source; scalars. A term that has no rows is zero."""

    observation: Tensor
    reward: Tensor
    continuation: Tensor
    state_kl: Tensor
    action: Tensor
    align_action: Tensor
    align_kl: Tensor
    latent_action_kl: Tensor  # the rate of u in nats a step; its weight is the rate control's beta
    state_kl_nats: Tensor  # the same KL before balance and free nats, for the eye

    def as_dict(self) -> dict[str, Tensor]:
        """Name to value."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def balanced_kl(
    latent: Latent, posterior: Tensor, prior: Tensor, balance: float, free_nats: float
) -> tuple[Tensor, Tensor]:
    """KL with balanced gradients and free nats.

    ``balance * max(KL(sg(q)||p), free) + (1 - balance) * max(KL(q||sg(p)), free)``, with
    the KL summed over the parts, as one KL whose gradients are scaled: Hafner et al.,
    "Mastering Atari with Discrete World Models" (DreamerV2), Algorithm 2, and free nats as in
    DreamerV3, Eq. 3.

    Args:
        latent: Reads the parameters.
        posterior: Parameters of q, ``(T, B, ·)``.
        prior: Parameters of p, ``(T, B, ·)``.
        balance: Weight of the term that trains the prior.
        free_nats: Bound below which there is no gradient.

    Returns:
        The loss and the plain KL, both ``(T, B)`` in nats.
    """
    kl = latent.total_kl(scaled_gradient(posterior, 1.0 - balance), scaled_gradient(prior, balance))
    return kl.clamp_min(free_nats), kl.detach()


def source_means(by_row: Tensor, rows: slice) -> Tensor:
    """Means over the rows of one source of ``(K, B)``: ``(K,)``, zeros without such rows."""
    # without rows, too, part of the graph: plain DDP wants a gradient for every parameter
    part = by_row[:, rows]
    return part.sum(dim=1) / max(part.shape[1], 1)


def masked_mean(values: Tensor, mask: Tensor, rows: slice) -> Tensor:
    """Mean over these rows of ``values (T, R)`` where ``mask (R,)``, zero where there are none."""
    weight = mask[rows].to(values.dtype)
    return (values[:, rows] * weight).sum() / (weight.sum() * values.shape[0]).clamp_min(1.0)


def world_model_terms(
    model: WorldModel, batch: Batch, observed: Observed, options: LossOptions
) -> tuple[SourceTerms, SourceTerms]:
    """All terms of the labelled rows and of the action-free rows."""
    labelled, free = slice(0, batch.num_labelled), slice(batch.num_labelled, None)
    latent = model.latent_action.latent

    obs = {key: value.transpose(0, 1) for key, value in batch.obs.items()}
    embeds = model.encoder.split(observed.embed)
    observation = model.observation_decoder.loss(observed.features, obs, embeds)
    state_kl, state_kl_nats = balanced_kl(
        model.rssm.latent,
        observed.z_posterior,
        observed.z_prior,
        options.kl_balance,
        options.free_nats,
    )

    # heads read all steps, and the results are cut: a cut through the features costs a copy, which
    # is less than a head on rows that have no reward to learn
    predicted = model.reward(first_rows(observed.features, len(batch.reward)))[1:]
    reward_std = options.reward_std * model.reward_unit
    reward = 0.5 * ((predicted - batch.reward.transpose(0, 1)) / reward_std).square()
    logit = model.continue_logit(observed.features)
    continuation = (
        torch.zeros_like(state_kl[1:])  # no episode of the data ever ends: nothing to learn
        if logit is None
        else F.binary_cross_entropy_with_logits(
            logit[1:], 1.0 - batch.terminated.transpose(0, 1), reduction="none"
        )
    )

    num = batch.num_labelled
    before, posterior = observed.labelled_features, observed.action_posterior
    actions = known = batch.action.transpose(0, 1)
    inverse_labelled = observed.inverse_posterior[:, labelled]
    align_kl = latent.total_kl(posterior[:, labelled].detach(), inverse_labelled)
    features, inferred = before, observed.inferred_action
    if options.self_labels and inferred is not None and num < batch.num_rows:
        features, actions = observed.dropped_features, torch.cat([known, inferred], dim=1)
    else:
        posterior = posterior[:, labelled]
    shape = posterior.shape[:-1]
    u_act = latent.sample(posterior, latent.noise(before, *shape))
    u_inverse = latent.sample(inverse_labelled, latent.noise(before, shape[0], num))
    nll_act, nll_free = model.latent_action.action_nll(
        DecoderExample(features, u_act, actions), DecoderExample(before, u_inverse, known)
    )
    reaches = options.inverse_kl_gradient
    if reaches is None:
        reaches = model.transition_input.inverse_kl_gradient
    inverse_free = scaled_gradient(observed.inverse_posterior[:, shape[1] :], reaches)
    rate = latent.total_kl(torch.cat([posterior, inverse_free], dim=1), observed.action_prior)
    if not model.transition_input.infers_actions:  # q_free of action-free rows means nothing then
        rate = torch.cat([rate[:, labelled], 0.0 * rate[:, free]], dim=1)

    names = ("observation", "state_kl", "state_kl_nats", "continuation", "latent_action_kl")
    of_states = torch.stack([observation, state_kl, state_kl_nats])  # (3, T + 1, B)
    of_steps = torch.stack([continuation, rate])  # (2, T, B)
    by_row = torch.cat([of_states.mean(dim=1), of_steps.mean(dim=1)])

    def common(rows: slice) -> dict[str, Tensor]:
        return dict(zip(names, source_means(by_row, rows).unbind(), strict=True))

    action_by_row = nll_act.mean(dim=0)  # labelled rows, then what is inferred
    of_labels = torch.stack([action_by_row[:num], nll_free.mean(dim=0), align_kl.mean(dim=0)])
    action, align_action, align_kl_mean = source_means(of_labels, slice(None)).unbind()
    own_action = source_means(action_by_row[None, num:], slice(None)).squeeze(0)
    zero = observation.new_zeros(())
    labelled_terms = SourceTerms(
        **common(labelled),
        reward=masked_mean(reward, batch.has_reward, labelled),
        action=action,
        align_action=align_action,
        align_kl=align_kl_mean,
    )
    free_terms = SourceTerms(
        **common(free),
        reward=masked_mean(reward, batch.has_reward, free),
        action=own_action,
        align_action=zero,
        align_kl=zero,
    )
    return labelled_terms, free_terms


def term_factors(
    model: WorldModel, batch: Batch, options: LossOptions
) -> dict[str, float | Tensor]:
    """By what each term is multiplied: one over the share of the loss that has the term.

    Without the factor, rewards and alignment of labelled rows alone would weigh less, beside the
    observations of all, than where every row is labelled.

    Returns:
        By name of the term, where it is not 1 in any case; the host does not look at the device.
    """
    known, num = batch.has_reward, batch.num_labelled
    if not options.share_weights or num in (0, batch.num_rows):
        return {}
    labelled, free = options.source_weights(batch)
    of_known = labelled * known[:num].any() + free * known[num:].any()
    reward = torch.where(of_known > 0.0, 1.0 / of_known, 1.0)
    if labelled == 0.0:
        return {"reward": reward}
    infers = model.transition_input.infers_actions
    lacking = ["align_action", "align_kl"]
    if not (options.self_labels and infers and isinstance(model.transition_input, ActionInput)):
        lacking.append("action")
    if not infers:
        lacking.append("latent_action_kl")
    return {"reward": reward, **dict.fromkeys(lacking, 1.0 / labelled)}


def weighted_sum(
    terms: SourceTerms, weights: Tensor, beta: Tensor, factors: Mapping[str, float | Tensor]
) -> Tensor:
    """``sum of weight * factor * term``, the latent action's rate weighted with ``beta``.

    Args:
        terms: Of one source.
        weights: :meth:`LossCoefficients.as_tensor`.
        beta: Scalar.
        factors: :func:`term_factors`.
    """
    scaled = {name: factor * getattr(terms, name) for name, factor in factors.items()}
    terms = replace(terms, **scaled)
    values = torch.stack([getattr(terms, field.name) for field in fields(LossCoefficients)])
    # not a product of matrices, which autocast would round
    return (values * weights).sum() + beta * terms.latent_action_kl


__all__ = [
    "LossCoefficients",
    "LossOptions",
    "SourceTerms",
    "balanced_kl",
    "masked_mean",
    "source_means",
    "term_factors",
    "weighted_sum",
    "world_model_terms",
]
