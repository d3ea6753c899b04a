"""What happened in the data, in the states of a trained world model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm.batch import Batch, EpisodeBatch
from lawm.world_model import WorldModel


@dataclass(frozen=True)
class PosteriorEpisodes:
    """A few whole episodes, time first, padded at the end to the longest of them."""

    features: Tensor  # (T + 1, N, D + Z), s_t
    action: Tensor  # (T, N, A), known or inferred
    posterior: Tensor  # (T, N, ·), of u: of those by which stage 1 trains the prior
    happened: Tensor  # (T, N) bool: transitions that are real
    length: Tensor  # (N,) int64: how many they are
    terminated: Tensor  # (N,) bool: the last one ended the task


@torch.no_grad()
def posterior_episodes(
    model: WorldModel, episodes: Iterable[EpisodeBatch]
) -> Iterator[PosteriorEpisodes]:
    """The episodes with the actions that were taken or, where these are unknown, inferred ones.

    Where the model infers no actions, the labelled episodes alone.
    """
    device, latent_action = next(model.parameters()).device, model.latent_action
    for chunk in episodes:
        batch = as_batch(chunk).to(device)
        observed = model.observe(batch)
        before, free = observed.features[:-1], slice(batch.num_labelled, None)
        num, action = batch.num_labelled, batch.action.transpose(0, 1)
        posterior = observed.action_posterior  # with self-labels of inferred actions, too
        if model.transition_input.infers_actions:
            inferred = latent_action.latent.mode(observed.inverse_posterior[:, free])
            inferred = latent_action.decode(before[:, free], inferred)
            num, action = batch.num_rows, torch.cat([action, inferred], dim=1)
            others = observed.inverse_posterior[:, posterior.shape[1] :]
            posterior = torch.cat([posterior, others], dim=1)
        length = chunk.length[:num].to(device)
        yield PosteriorEpisodes(
            features=observed.features[:, :num],
            action=action,
            posterior=posterior,
            happened=torch.arange(len(action), device=device)[:, None] < length,
            length=length,
            terminated=chunk.terminated[:num].to(device),
        )


def as_batch(episodes: EpisodeBatch) -> Batch:
    """Padded episodes as windows; what is padded must not be counted in a loss."""
    return Batch(
        obs=episodes.obs,
        action=episodes.action,
        reward=episodes.reward,
        terminated=torch.zeros_like(episodes.reward),
        has_reward=episodes.has_reward,
    )


__all__ = ["PosteriorEpisodes", "as_batch", "posterior_episodes"]
