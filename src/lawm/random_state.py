"""Random numbers that are drawn aside leave those of training as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put torch's generators back at the end: the CPU's, and that of the process's own GPU.

    Of all GPUs it would open a context on each; and `torch.manual_seed` reaches that of the device,
    too, so that one of the CPU alone is not enough.

    Args:
        device: On which this process computes.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextmanager
def own_random_numbers(seed: int | None, device: torch.device) -> Iterator[None]:
    """Draw from a stream of one's own; None is for where nothing is drawn.

    Args:
        seed: Of the stream.
        device: On which this process computes.
    """
    if seed is None:
        yield
        return
    with random_state_kept(device):
        torch.manual_seed(seed)
        yield


__all__ = ["own_random_numbers", "random_state_kept"]
