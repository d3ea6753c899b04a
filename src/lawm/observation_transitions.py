"""Two observations side by side: what inference of the action between them reads.

    state    (o_t - mean) / std    and    (o_{t+1} - o_t) / usual change
    image    e_t    and    e_{t+1}

An action moves an angle or a position by little in one step: beside the spread of the whole data
set the difference is all but lost, and with few labels no network finds it again. In units of the
usual change it stands out, and without a learned embedding there is less to over-fit. Our own
finding; ``docs/world-model-experiments.md`` has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm.spec import DataSpec, ObservationSpec


class ObservationTransitions(nn.Module):
    """What is read of each transition, the keys side by side; nothing in it is learned.

    Args:
        spec: The keys.
        embed: Size of an image's embedding.
    """

    def __init__(self, spec: DataSpec, embed: int) -> None:
        super().__init__()
        self.images = [key for key, item in spec.observations.items() if item.kind == "image"]
        self.states = nn.ModuleDict(
            {str(number): _StateUnits(item) for number, (_, item) in enumerate(_states(spec))}
        )
        self.state_keys = [key for key, _ in _states(spec)]
        numbers = sum(item.shape[0] for _, item in _states(spec))
        self.size = 2 * (numbers + embed * len(self.images))

    def forward(self, obs: dict[str, Tensor], embeds: dict[str, Tensor], dim: int) -> Tensor:
        """From T + 1 steps along dimension ``dim`` to the T transitions between them.

        Args:
            obs: ``{key: (..., *shape)}``; images are not read.
            embeds: ``{key: (..., embed)}`` of the images at least.
            dim: The dimension of time, counted from the front.

        Returns:
            ``(..., size)``, T steps along ``dim``.
        """
        parts = [
            units(obs[key], dim)
            for key, units in zip(self.state_keys, self.states.values(), strict=True)
        ]
        for key in self.images:
            steps = embeds[key].shape[dim] - 1
            parts += [embeds[key].narrow(dim, start, steps) for start in (0, 1)]
        return torch.cat(parts, dim=-1)


class _StateUnits(nn.Module):
    mean: Tensor
    std: Tensor
    change: Tensor

    def __init__(self, spec: ObservationSpec) -> None:
        super().__init__()
        for name in ("mean", "std", "change"):
            self.register_buffer(name, torch.tensor(getattr(spec, name)))

    def forward(self, obs: Tensor, dim: int) -> Tensor:
        """``(..., D)`` with T + 1 steps to ``(..., 2 D)`` with T."""
        now = obs.narrow(dim, 0, obs.shape[dim] - 1)
        return torch.cat([(now - self.mean) / self.std, obs.diff(dim=dim) / self.change], dim=-1)


def _states(spec: DataSpec) -> list[tuple[str, ObservationSpec]]:
    return [(key, item) for key, item in spec.observations.items() if item.kind == "state"]


__all__ = ["ObservationTransitions"]
