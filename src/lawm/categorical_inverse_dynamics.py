"""Actions drawn from what observations tell of them, for rows whose actions are not known.

    p(a_t | o_{t-1}, ..., o_{t+2})    for each dimension of the action a categorical over its range

Where little can be inferred, the mean of what is possible is too tame: the prior of u learns to do
little, and dynamics in which much follows from little overstate what an action does. A draw is as
bold as the data, and what is learned from fresh draws is right on average where the distribution is
(multiple imputation, Rubin, "Multiple Imputation for Nonresponse in Surveys", 1987). A categorical,
as actions gather at the ends of their range. Used so, it is our own derivation; ``docs/pixels.md``
has the figures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm.fused.dropout import Dropout
from lawm.networks import Linear, NormedLinear

BINS = 11
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.3, 0.4  # it learns from the labelled rows alone, which are few
_WIDTH = 2.0 / (BINS - 1)  # of a bin; the middles of the first and last are the bounds, -1 and 1


class CategoricalInverseDynamics(nn.Module):
    """Reads the transition before, that in which the action was taken, and the one after.

    What an action does to a velocity shows in a picture one step later. No state of the model is
    read: it would remember the true actions of labelled rows, and action-free ones have none. No
    gradient reaches what made the transitions: labels alone would teach it those by heart.

    Args:
        transition_size: Size of a transition (:mod:`lawm.observation_transitions`).
        hidden: Width of the hidden layer.
        action_dim: A.
    """

    def __init__(self, transition_size: int, hidden: int, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.input_dropout = Dropout(INPUT_DROPOUT)
        self.layer = NormedLinear(3 * transition_size, hidden)
        self.dropout = Dropout(HIDDEN_DROPOUT)
        self.output = Linear(hidden, action_dim * BINS)

    def loss(self, transitions: Tensor, action: Tensor) -> Tensor:
        """Mean of -log p of the actions' bins, summed over the dimensions, in nats.

        Args:
            transitions: ``(T, L, transition_size)``.
            action: ``(T, L, A)``, in [-1, 1].
        """
        bins = ((action + 1.0) / _WIDTH).round().long()
        read = self.input_dropout(_with_neighbours(transitions.detach()))
        logits = self.layer(read, dropout=self.dropout, then=self.output).float()
        classes = logits.view(-1, BINS)
        total: Tensor = F.cross_entropy(classes, bins.flatten(), reduction="sum")
        return total / max(action[..., 0].numel(), 1)

    @torch.no_grad()
    def probabilities(self, transitions: Tensor) -> Tensor:
        """Without dropout: ``(T, F, transition_size) -> (T, F, A, BINS)``."""
        logits: Tensor = self.layer(_with_neighbours(transitions), then=self.output).float()
        return logits.view(*logits.shape[:2], self.action_dim, BINS).softmax(dim=-1)

    @torch.no_grad()
    def draw(self, transitions: Tensor) -> Tensor:
        """``(T, F, transition_size) -> (T, F, A)`` in [-1, 1]; a place within the bin is drawn."""
        below = self.probabilities(transitions).cumsum(dim=-1)
        at = torch.rand_like(below[..., :1]) * below[..., -1:]
        bins = (below[..., :-1] < at).sum(dim=-1)
        place = torch.rand_like(at.squeeze(-1)) - 0.5
        return ((bins + place) * _WIDTH - 1.0).clamp(-1.0, 1.0)


def _with_neighbours(transitions: Tensor) -> Tensor:
    """Beside each step those before and after it; at the ends of a window itself."""
    before = torch.cat([transitions[:1], transitions[:-1]])
    after = torch.cat([transitions[1:], transitions[-1:]])
    return torch.cat([before, transitions, after], dim=-1)


__all__ = ["CategoricalInverseDynamics"]
