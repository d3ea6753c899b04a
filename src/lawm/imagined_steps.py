"""What the world model predicts, as numpy arrays in the environment's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lawm.errors import LawmError
from lawm.latent_state import LatentState
from lawm.world_model import WorldModel


class PredictedObservations(dict[str, NDArray[np.generic]]):
    """Observations by key; one that the model does not predict is refused in a sentence."""

    def __missing__(self, key: str) -> NDArray[np.generic]:
        """Tell what there is."""
        raise LawmError(
            f"The world model predicts no observation '{key}'; it predicts {sorted(self)}. It "
            "knows the keys that it was trained on, and of these it decodes no images with "
            "world_model.model.observation_loss redundancy_reduction, unless "
            "world_model.model.image_probe is on. Take another key, or train with reconstruction."
        )


@dataclass(frozen=True)
class ImaginedSteps:
    """H imagined steps; step t leads from s_t to s_{t+1}, and s_0 is the start.

    With n in front where there were n starts or n sequences of actions.
    """

    latent_action: NDArray[np.float32]  # ([n,] H, U), u_t: as chosen, or the mode of q_act
    action: NDArray[np.float32]
    """([n,] H, A), a_t in the environment's units: as chosen, or decoded from u_t."""
    states: LatentState  # ([n,] H), s_{t+1}
    observations: PredictedObservations
    """Means of p(o_{t+1} | s_{t+1}), each ([n,] H, *shape): states in their units, uint8 images."""
    reward: NDArray[np.float32]  # ([n,] H), mean of p(r_t | s_{t+1}) in the data's units
    continuation: NDArray[np.float32]  # ([n,] H), probability that step t was not terminal


def predicted_observations(
    model: WorldModel, features: Tensor, leading: tuple[int, ...]
) -> PredictedObservations:
    """Of the keys that can be shown.

    Args:
        model: The world model.
        features: Of N states, ``(N, D + Z)``.
        leading: The shape of the states, whose product N is; each key gets ``(*leading, *shape)``.
    """
    predicted = PredictedObservations()
    for key, decoder in model.observation_decoder.items():
        item = model.spec.observations[key]
        if item.kind == "state":
            predicted[key] = decoder(features).cpu().numpy().reshape(*leading, *item.shape)
        elif (picture := decoder.picture(features)) is not None:
            image = picture.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            predicted[key] = image.reshape(*leading, *item.shape)
    return predicted


__all__ = ["ImaginedSteps", "PredictedObservations", "predicted_observations"]
