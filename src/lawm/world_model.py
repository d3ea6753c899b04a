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
from lawm.latents import LatentKind, make_latent
from lawm.networks import MLP
from lawm.observation_transitions import ObservationTransitions
from lawm.observations import (
    ObservationDecoder,
    ObservationEncoder,
    ObservationLossName,
    ObservationSizes,
)
from lawm.random_shift import RandomShift
from lawm.rssm import RSSM, ModelState, RSSMStep
from lawm.spec import DataSpec
from lawm.transition_input import KnownAhead, TransitionInputName, make_transition_input


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and variants of the world model.

    Args:
        transition_input: What enters the recurrence: the (decoded) ``action``, the ``latent``
            action, or, the baseline, ``masked_action``, which infers no actions.
        deter: Size of the deterministic state h.
        hidden: Width of the layers.
        embed: Size of an observation key's embedding.
        num_layers: Hidden layers of encoder, decoder and heads.
        stoch: Gaussian dimensions of z, or number of categoricals.
        stoch_kind: Kind of z.
        stoch_classes: Classes of each categorical of z.
        latent_action: Gaussian dimensions of u, or number of categoricals.
        latent_action_kind: Kind of u.
        latent_action_classes: Classes of each categorical of u.
        action_min_std: Least standard deviation of p(a|s,u); actions lie in [-1, 1].
        action_max_std: Greatest one.
        action_dropout: Dropout in the action decoder and, on labelled rows, in what q_free reads
            of a transition.
        feature_dropout: Dropout of s where actions are learned from labels: in q_act, q_free and
            the decoder. An action read out of u generalises, one read out of s is remembered.
        reward_dropout: Dropout in the reward head.
        reward_unit: Size of a reward, by which the loss of rewards, the values of stage 2 and the
            least scale of returns are measured; None: :attr:`lawm.spec.DataSpec.reward_unit`.
        inverse_gradient: Factor on the gradient by which the dynamics of action-free rows train
            what infers their actions, where the action enters the recurrence. Above 0 it infers
            actions that help prediction, and with few labels these are not those that were taken.
        observation_loss: How images are learned from: ``reconstruction``, or
            ``redundancy_reduction`` without a decoder (:mod:`lawm.redundancy_reduction`). States
            are reconstructed either way.
        free_running_share: Share of an update's labelled rows in which the recurrence is not told
            the action either: it takes the inferred one, as in the action-free rows beside them.
            With ``transition_input`` action. A state that remembers the true actions tells more of
            the next one than the state of an action-free row does, and who learns to infer from
            such states alone fails where it matters (scheduled sampling, arXiv 1506.03099).
        image_depth: Channels of the first convolution.
        image_std: Standard deviation of a reconstructed pixel, where 1 is from black to white; a
            smaller one weighs images more.
        image_decoded_share: Share of the steps of a window that are reconstructed in an update;
            others are drawn for the next one.
        image_shift: Most pixels of the random shift that images are trained with; 0 for none.
        image_probe: Without reconstruction, train a decoder beside the model to look at.
    """

    transition_input: TransitionInputName = "action"
    deter: int = 192
    hidden: int = 192
    embed: int = 192
    num_layers: int = 2
    stoch: int = 24
    stoch_kind: LatentKind = "gaussian"
    stoch_classes: int = 16
    latent_action: int = 8
    latent_action_kind: LatentKind = "gaussian"
    latent_action_classes: int = 8
    action_min_std: float = 0.05
    action_max_std: float = 0.5
    action_dropout: float = 0.3
    feature_dropout: float = 0.5
    reward_dropout: float = 0.0
    reward_unit: float | None = None
    inverse_gradient: float = 0.0
    free_running_share: float = 0.0
    observation_loss: ObservationLossName = "reconstruction"
    image_depth: int = 16
    image_std: float = 0.5**0.5
    image_decoded_share: float = 1.0
    image_shift: int = 4
    image_probe: bool = False

    def observation_sizes(self) -> ObservationSizes:
        """What encoders and decoders are built from."""
        return ObservationSizes(
            self.hidden,
            self.embed,
            self.num_layers,
            self.observation_loss,
            self.image_depth,
            self.image_std,
            self.image_decoded_share,
            self.image_probe,
        )


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
        before = _first_rows(dropped, num_outside)
        inverse = self.latent_action.inverse_posterior(
            before, project(_first_rows(transitions, num_outside), with_labels=True)
        )
        free = slice(num_outside - num_known, None)  # of what was inferred, the action-free rows
        inferred = None
        if filtered.inferred_action is not None:
            inferred = filtered.inferred_action[:, free]
        action_posterior = filtered.action_posterior
        if action_posterior is None:
            actions = action if inferred is None else torch.cat([action, inferred], dim=1)
            action_posterior = self.latent_action.action_posterior(
                _first_rows(dropped, actions.shape[1]), of_action(actions)
            )
        return Observed(
            embed=embed,
            h=h,
            z=z,
            z_posterior=filtered.z_posterior,
            z_prior=self.rssm.prior(h),
            features=features,
            dropped_features=dropped,
            labelled_features=_first_rows(before, batch.num_labelled),
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


def _first_rows(x: Tensor, num: int) -> Tensor:
    """``(T, B, ·) -> (T, num, ·)``; all of them cost no copy of their gradient."""
    return x if num == x.shape[1] else x[:, :num]


__all__ = ["Observed", "WorldModel", "WorldModelConfig"]
