"""What was made for a kernel's call, kept for later ones.

Buffers, and a structure that says where they are: for small batches making them takes longer than
the products.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import torch

from lawm.fused.kernels import in_bf16

MOST_NUMBERS = 1 << 24  # of a plan that is kept, 64 MB; larger ones are made anew
MOST_KINDS = 4  # of calls that are remembered, such as those of training and those of validation
MOST_UNUSED = 4  # plans of a kind that are kept


class Plan(Protocol):
    """A structure and its buffers."""

    numbers: int  # of all its buffers, about


PlanT = TypeVar("PlanT", bound=Plan)


class Plans(Generic[PlanT]):
    """The plans of one module that nobody uses; a copy of the module has none.

    A plan is in use until the graph that it serves is freed, so that a graph that is kept, or a
    module that is called twice in one graph, finds its numbers as they were.
    """

    def __init__(self) -> None:
        self._unused: dict[Hashable, list[PlanT]] = {}

    def __deepcopy__(self, memo: object) -> Plans[PlanT]:
        return Plans()

    def __reduce__(self) -> tuple[type[Plans[PlanT]], tuple[()]]:
        return Plans, ()

    def lease(self, kind: tuple[Hashable, ...], make: Callable[[], PlanT]) -> Lease[PlanT]:
        """An unused plan of a kind of call, in the precision and mode of now, or a new one."""
        # tensors that were made in inference mode cannot be written to outside of it
        kind = (in_bf16(), torch.is_inference_mode_enabled(), *kind)
        if kind not in self._unused and len(self._unused) >= MOST_KINDS:
            self._unused.clear()
        unused = self._unused.setdefault(kind, [])
        try:
            plan = unused.pop()
        except IndexError:
            plan = make()
        return Lease(plan, unused)


class Lease(Generic[PlanT]):
    """A plan in use, until this is freed."""

    def __init__(self, plan: PlanT, unused: list[PlanT]) -> None:
        self.plan, self._unused = plan, unused

    def __del__(self) -> None:
        if self.plan.numbers <= MOST_NUMBERS and len(self._unused) < MOST_UNUSED:
            self._unused.append(self.plan)


__all__ = ["Lease", "Plan", "Plans"]
