"""Actions read out of latent actions, of trajectories whose actions are known.

What is inferred from observations is inferred as in action-free trajectories: with a recurrence
that takes inferred actions as well. A state that remembers the true actions tells more of the next
one, from pictures half as much again, than where it is needed.
"""

from __future__ import annotations

from torch import Tensor

from lawm.world_model import Observed, WorldModel


def decoded_actions(model: WorldModel, told: Observed, free: Observed) -> tuple[Tensor, Tensor]:
    """Actions decoded from the modes of q_free and of q_act, each ``(T, L, A)``.

    Args:
        model: The world model.
        told: ``model.observe(batch)``, all rows labelled.
        free: The same of ``batch.action_free()``.
    """
    latent_action = model.latent_action
    inverse, action = (
        latent_action.decode(observed.features[:-1], latent_action.latent.mode(params))
        for observed, params in ((free, free.inverse_posterior), (told, told.action_posterior))
    )
    return inverse, action


__all__ = ["decoded_actions"]
