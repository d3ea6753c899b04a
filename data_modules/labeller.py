"""Who labels action-free trajectories as they are handed out, if anybody does."""

from __future__ import annotations

from typing import Protocol

from lawm.batch import Batch, EpisodeBatch


class Labeller(Protocol):
    """Makes actions for rows that carry none; what has actions comes back as it is."""

    def label_windows(self, batch: Batch) -> Batch:
        """All rows labelled."""

    def label_episodes(self, episodes: EpisodeBatch) -> EpisodeBatch:
        """All episodes labelled."""


__all__ = ["Labeller"]
