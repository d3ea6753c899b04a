"""Do the settings of the batches make sense, and do such windows fit into the episodes?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lawm.data_modules.episode_store import EpisodeStore
from lawm.errors import LawmError


def check_settings(
    labelled_ratio: float,
    observation_keys: Sequence[str] | None,
    *,
    at_least_1: Mapping[str, int | None],
    at_least_0: Mapping[str, int | None],
) -> None:
    """Refuse what no data can fulfil; None stands for a default.

    Raises:
        LawmError: Names the key, its value and what was expected.
    """
    if not 0.0 < labelled_ratio <= 1.0:
        raise LawmError(
            f"data.labelled_ratio is {labelled_ratio}; expected a share of labelled windows "
            "above 0 and up to 1, such as 0.5."
        )
    for least, values in ((1, at_least_1), (0, at_least_0)):
        for key, value in values.items():
            if value is not None and value < least:
                raise LawmError(f"data.{key} is {value}; expected a whole number from {least}.")
    if observation_keys is not None and not observation_keys:
        raise LawmError(
            "data.observation_keys is empty; name at least one key, or leave it out to use all."
        )


def check_windows(
    store: EpisodeStore, window: int, batch_size: int, labelled_ratio: float, where: str
) -> None:
    """Refuse a window that fits nowhere; tell what the settings leave unused or weigh down.

    Args:
        store: The data.
        window: Transitions.
        batch_size: Windows in a batch of one process.
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
    elif batch_size * labelled_ratio < 1.0:
        rank_zero_warn(
            f"data.batch_size = {batch_size} and data.labelled_ratio = {labelled_ratio} leave "
            f"{1.0 - batch_size * labelled_ratio:.0%} of a process's batches without a labelled "
            "window, and what labels teach weighs less by that. Batches of "
            f"{math.ceil(1.0 / labelled_ratio)} or more have one each."
        )


__all__ = ["check_settings", "check_windows"]
