"""Settings of the world model."""

from __future__ import annotations

from dataclasses import dataclass

from lawm.latents import LatentKind
from lawm.observations import ObservationLossName, ObservationSizes
from lawm.transition_input import TransitionInputName


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
        action_max_std: Greatest standard deviation of p(a|s,u) under u ~ q_act. What is finer, u
            need not tell, nor can a policy within reach of the prior choose it.
        inverse_max_std: Greatest standard deviation of p(a|s,u) under u ~ q_free, in the alignment.
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
    action_max_std: float = 0.1
    inverse_max_std: float = 0.5
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


__all__ = ["WorldModelConfig"]
