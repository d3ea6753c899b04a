"""One start imagined under several latent actions: what a person looks at to see what each does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lawm.latents import GaussianLatent, Latent
from lawm.rssm import ModelState
from lawm.world_model import WorldModel

DEVIATIONS = 2.0  # from the prior's mean: far, and still what the data contain
CERTAIN = 1e4  # Gumbel noise that decides for a class


@dataclass(frozen=True)
class HeldAction:
    """A latent action that is held relative to the prior, which follows the imagined state."""

    name: str  # for a person, such as "u3 +2 std"
    noise: Tensor  # (U,), for Latent.sample


def held_actions(latent: Latent, parts: list[int], most: int) -> list[HeldAction]:
    """The prior's mode, and both ends of some parts of u while the others stay at the mode.

    Args:
        latent: The kind of u.
        parts: Dimensions (or categoricals) of u, the most interesting first.
        most: How many held actions at most.
    """
    held = [HeldAction("prior", torch.zeros(latent.size))]
    for part in parts:
        if isinstance(latent, GaussianLatent):
            for sign in (-1.0, 1.0):
                noise = torch.zeros(latent.size)
                noise[part] = sign * DEVIATIONS
                held.append(HeldAction(f"u{part} {sign * DEVIATIONS:+.0f} std", noise))
        else:
            classes = latent.num_params // len(latent_parts(latent))
            for chosen in range(classes):
                noise = torch.zeros(latent.size)
                noise[part * classes + chosen] = CERTAIN
                held.append(HeldAction(f"u{part} class {chosen}", noise))
    return held[:most]


def latent_parts(latent: Latent) -> range:
    """Numbers of the independent parts of a latent."""
    like = torch.zeros(1, latent.num_params)
    return range(latent.kl(like, like).shape[-1])


@torch.no_grad()
def imagine_held(
    model: WorldModel, start: ModelState, held: list[HeldAction], horizon: int
) -> Tensor:
    """Imagine from one start under each of the actions.

    Args:
        model: The world model.
        start: h ``(D,)`` and z ``(Z,)``.
        held: R actions.
        horizon: H, steps.

    Returns:
        Features ``(H + 1, R, D + Z)``, the start first; z at the prior's mode.
    """
    latent_action, rssm = model.latent_action, model.rssm.bind()
    noise = torch.stack([action.noise for action in held]).to(start.h)
    state = ModelState(start.h.expand(len(held), -1), start.z.expand(len(held), -1))
    features = [state.features]
    for _ in range(horizon):
        u = latent_action.latent.sample(latent_action.prior(state.features), noise)
        action = latent_action.decode(state.features, u)
        x = model.transition_input.act(u, action)
        state = model.imagine_step(rssm, state, x, sample=False)
        features.append(state.features)
    return torch.stack(features)


__all__ = ["HeldAction", "held_actions", "imagine_held", "latent_parts"]
