"""The world model: encoder, RSSM, latent action and heads, as plain networks.

    e_t = enc(o_t)      s_t = (h_t, z_t)
    heads  p(o_t | s_t), p(r_t | s_{t+1}), p(continue_t | s_{t+1})

Everything inside is TIME FIRST, ``(T, B, ...)``: a step of the loop then reads contiguous memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm.batch import Batch
from lawm.filtering import filter_windows
from lawm.fused.dropout import Dropout
from lawm.fused.observe_loop import ObserveLoop
from lawm.fused.plans import Plans
from lawm.latent_action import LatentActionModel
from lawm.latents import make_latent
from lawm.networks import MLP
from lawm.observation_transitions import ObservationTransitions
from lawm.observations import ObservationDecoder, ObservationEncoder
from lawm.random_shift import RandomShift
from lawm.rssm import RSSM, ModelState, RSSMStep
from lawm.spec import DataSpec
from lawm.transition_input import KnownAhead, make_transition_input
from lawm.world_model_config import WorldModelConfig


@dataclass(frozen=True)
class Observed:
    """The model's view of a batch of windows, time first."""

    embed: Tensor  # (T + 1, B, embed)
    h: Tensor  # (T + 1, B, D)
    z: Tensor  # (T + 1, B, Z), samples or modes of the posterior
    z_posterior: Tensor  # (T + 1, B, ·)
    z_prior: Tensor  # (T + 1, B, ·)
    features: Tensor  # (T + 1, B, D + Z)
    dropped_features: Tensor  # (T, B, D + Z), of all steps but the last, with dropout in training
    labelled_features: Tensor  # (T, L, D + Z), of these the labelled rows
    action_posterior: Tensor  # (T, L, ·), q_act; (T, B, ·) where actions were inferred
    inverse_posterior: Tensor  # (T, B, ·), q_free of all rows
    inferred_action: Tensor | None  # (T, F, A), constants that entered the recurrence, if any did
    action_prior: Tensor  # (T, B, ·), p(u | s)


class WorldModel(nn.Module):
    """A latent-action world model of the data set that ``spec`` describes."""

    def __init__(self, spec: DataSpec, config: WorldModelConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.reward_unit = config.reward_unit or spec.reward_unit
        c = config
        stoch = make_latent(c.stoch_kind, c.stoch, c.stoch_classes)
        latent_action = make_latent(c.latent_action_kind, c.latent_action, c.latent_action_classes)
        self.transition_input = make_transition_input(
            c.transition_input, spec.action_dim, latent_action.size, c.inverse_gradient
        )
        images = [key for key, item in spec.observations.items() if item.kind == "image"]
        self.random_shift = RandomShift(images, c.image_shift)
        self.encoder = ObservationEncoder(spec, c.observation_sizes())
        self.rssm = RSSM(stoch, c.deter, c.hidden, self.encoder.size, self.transition_input.size)
        self.filter_plans: Plans[ObserveLoop] = Plans()
        self.transitions = ObservationTransitions(spec, c.embed)
        self.feature_dropout = Dropout(c.feature_dropout)
        features = self.rssm.feature_size
        self.latent_action = LatentActionModel(
            latent_action,
            features,
            c.hidden,
            self.transitions.size,
            spec.action_dim,
            c.action_min_std,
            c.action_max_std,
            c.inverse_max_std,
            c.action_dropout,
        )
        self.observation_decoder = ObservationDecoder(spec, features, c.observation_sizes())
        self.reward_head = MLP(features, c.hidden, 1, c.num_layers, 0.0, c.reward_dropout)
        self.continue_head = MLP(features, c.hidden, 1, 1, 0.0) if spec.terminates else None

    def observe(self, batch: Batch, *, sample: bool = True) -> Observed:
        """Filter a batch of windows with the posteriors; without ``sample`` all are at their modes.

        Only the posterior of z, the latent action that the recurrence needs and the recurrence
        itself stay in the loop over time; all else is one call over T * B.
        """
        obs = {key: value.transpose(0, 1) for key, value in batch.obs.items()}
        embed = self.encoder(self.random_shift(obs))
        steps, rows = embed.shape[0] - 1, embed.shape[1]
        transitions = self.transitions(obs, self.encoder.split(embed), dim=0)
        action = batch.action.transpose(0, 1)
        told = batch.num_labelled - self._num_free_running(batch)
        action_known = self.transition_input.known_rows(action[:, :told], rows)
        num_known = action_known.shape[1]
        project = self.latent_action.project_transition
        inverse_projected = project(transitions[:, num_known:], with_labels=False)
        of_action = self.latent_action.project_action
        in_loop = of_action(action) if self.transition_input.needs_action_posterior else None
        known = KnownAhead(action_known, in_loop, inverse_projected, sample)
        latent, like = (
            self.rssm.latent,
            self.rssm.cell.linear.weight,
        )  # embed may be of a shorter type
        noise = (
            latent.noise(like, steps + 1, rows)
            if sample
            else like.new_zeros(steps + 1, rows, latent.size)
        )
        filtered = filter_windows(
            self.rssm,
            self.latent_action,
            self.transition_input,
            self.rssm.project_embed(embed),
            known,
            noise,
            self.filter_plans,
        )

        features = filtered.features
        h, z = torch.split(features, [self.rssm.deter, latent.size], dim=-1)
        num_outside = max(num_known, batch.num_labelled)
        dropped = self.feature_dropout(features[:-1])
        before = first_rows(dropped, num_outside)
        inverse = self.latent_action.inverse_posterior(
            before, project(first_rows(transitions, num_outside), with_labels=True)
        )
        free = slice(num_outside - num_known, None)  # of what was inferred, the action-free rows
        inferred = None
        if filtered.inferred_action is not None:
            inferred = filtered.inferred_action[:, free]
        action_posterior = filtered.action_posterior
        if action_posterior is None:
            actions = action if inferred is None else torch.cat([action, inferred], dim=1)
            action_posterior = self.latent_action.action_posterior(
                first_rows(dropped, actions.shape[1]), of_action(actions)
            )
        return Observed(
            embed=embed,
            h=h,
            z=z,
            z_posterior=filtered.z_posterior,
            z_prior=self.rssm.prior(h),
            features=features,
            dropped_features=dropped,
            labelled_features=first_rows(before, batch.num_labelled),
            action_posterior=action_posterior,
            inverse_posterior=torch.cat([inverse, filtered.inverse_posterior[:, free]], dim=1),
            inferred_action=inferred,
            action_prior=self.latent_action.prior(features)[:-1],
        )

    def _num_free_running(self, batch: Batch) -> int:
        """Labelled rows whose actions the recurrence is not told."""
        applies = self.training and batch.num_labelled < batch.num_rows
        if not applies or self.config.transition_input != "action":
            return 0
        return round(self.config.free_running_share * batch.num_labelled)

    def imagine_step(
        self, rssm: RSSMStep, state: ModelState, x: Tensor, *, sample: bool = True
    ) -> ModelState:
        """One step of the prior, ``s_{t+1} ~ p(. | s_t, x_t)``, with ``self.rssm.bind()``.

        Without ``sample`` z is at the prior's mode.
        """
        h, latent = rssm.recur(state.h, state.z, x), self.rssm.latent
        if not sample:
            return ModelState(h, latent.mode(self.rssm.prior(h)))
        noise = latent.noise(h, h.shape[0])
        return ModelState(h, latent.sample(self.rssm.prior(h), noise))

    def filter_step(self, h: Tensor, embed: Tensor) -> ModelState:
        """The posterior state for a new observation, z at its mode."""
        params = self.rssm.bind().posterior(h, self.rssm.project_embed(embed))
        return ModelState(h, self.rssm.latent.mode(params))

    def reward(self, next_features: Tensor) -> Tensor:
        """Mean of ``p(r_t | s_{t+1})`` in the data's units: ``(..., D + Z) -> (..., )``."""
        out: Tensor = self.reward_head(next_features).squeeze(-1).float()
        return out * self.reward_unit

    def continue_logit(self, next_features: Tensor) -> Tensor | None:
        """Log-odds that the transition into s_{t+1} was not terminal; None if none ever is."""
        if self.continue_head is None:
            return None
        out: Tensor = self.continue_head(next_features).squeeze(-1).float()
        return out


def first_rows(x: Tensor, num: int) -> Tensor:
    """``(T, B, ·) -> (T, num, ·)``; all of them cost no copy of their gradient."""
    return x if num == x.shape[1] else x[:, :num]


__all__ = ["Observed", "WorldModel", "first_rows"]
