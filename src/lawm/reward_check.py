"""Rewards are what the policy of stage 2 is trained for: without any, stage 1 is not paid for."""

from __future__ import annotations

from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.errors import LawmError


def refuse_missing_rewards(data: MixedTrajectoryDataModule) -> None:
    """Refuse to train a policy in imagination on data that tell no reward.

    Raises:
        LawmError: No episode that is trained on has rewards, or all are hidden.
    """
    store, first = data.store, data.store.labelled.start
    num_training = data.num_training_episodes
    if store.has_reward[first : first + num_training].any():
        return
    hidden = data.summary()["episodes with hidden rewards"]
    hint = ""
    if hidden and data.labelled_ratio < 1.0:
        hint = (
            f" {hidden} action-free episodes have rewards that are hidden: "
            "--data.rewards_on_action_free true keeps them."
        )
    raise LawmError(
        f"none of the {num_training} training episodes of data.shards and data.action_free_shards "
        "has known rewards, so the policy of stage 2 would be trained for nothing; expected one or "
        f"more.{hint} Train stage 1 alone with --stage world_model, or clone the labelled actions, "
        "which needs no rewards, with --config conf/bc.yaml (method: behaviour_cloning)."
    )


__all__ = ["refuse_missing_rewards"]
