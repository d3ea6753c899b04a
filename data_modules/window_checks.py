"""Do windows of the set length fit into the episodes?"""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lawm.data_modules.episode_store import EpisodeStore
from lawm.errors import LawmError


def check_windows(store: EpisodeStore, window: int, labelled_ratio: float, where: str) -> None:
    """Refuse a window that fits nowhere; tell what the settings leave unused.

    Args:
        store: The data.
        window: Transitions.
        labelled_ratio: Share of labelled windows.
        where: The shards, for the message.

    Raises:
        LawmError: No labelled or no action-free episode is as long as the window.
    """
    skipped = store.window_pool(store.held_out, window).num_skipped
    for name, episodes in (("labelled", store.labelled), ("action-free", store.free)):
        pool = store.window_pool(episodes, window)
        skipped += pool.num_skipped
        is_needed = name == "labelled" or labelled_ratio < 1.0
        if pool.num_windows == 0 and len(episodes) > 0 and is_needed:
            longest = int(store.lengths(episodes).max())
            raise LawmError(
                f"data.window is {window}, longer than any {name} episode of {where}: the longest "
                f"has {longest} transitions. Set it to {longest} or less."
            )
    if skipped:
        rank_zero_warn(
            f"{skipped} of {len(store.offset) - 1} episodes are shorter than data.window = "
            f"{window}; no windows are drawn from them."
        )
    if len(store.free) == 0 and labelled_ratio < 1.0:
        rank_zero_info(
            "There are no action-free episodes: every window is labelled, and "
            f"data.labelled_ratio = {labelled_ratio} is not used."
        )


__all__ = ["check_windows"]
