"""What a data set is: for the model that is built on it, for checkpoints, and for tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lawm.data_modules.episode_store import EpisodeStore
from lawm.data_modules.shard_headers import ShardHeader, agreed_timing
from lawm.data_modules.trajectory_split import EpisodeSplit
from lawm.spec import DataSpec


def data_spec(
    headers: Sequence[ShardHeader], split: EpisodeSplit, store: EpisodeStore, training: range
) -> DataSpec:
    """What the model is built from.

    Args:
        headers: Of the shards, at least one of which has actions.
        split: The part that each episode plays.
        store: The data.
        training: Numbers in the store of the episodes that are trained on.
    """
    returns = _training_returns(headers, split)
    metas = [header.meta for header in headers]  # they agree, or do not know
    acting = next(meta for meta in metas if meta.action_dim > 0)
    action_repeat, control_timestep = agreed_timing(metas)
    return DataSpec(
        observations=store.observation_specs(training),
        action_low=tuple(acting.action_low.tolist()),
        action_high=tuple(acting.action_high.tolist()),
        env_id=max(meta.env_id for meta in metas),
        action_repeat=action_repeat,
        control_timestep=control_timestep,
        return_mean=float(returns.mean()) if len(returns) else float("nan"),
        return_best=float(returns.max()) if len(returns) else float("nan"),
        terminates=store.terminates(training),
        renderer=next((h.renderer for h in headers if h.renderer), None),
        reward_size=store.reward_size(training),
    )


def data_fingerprint(
    headers: Sequence[ShardHeader], split: EpisodeSplit, rewards_on_action_free: bool
) -> str:
    """SHA-256 of the content of the shards and of what each episode is used for, as hex.

    Args:
        headers: Of the shards.
        split: The part that each episode plays.
        rewards_on_action_free: Whether the rewards of action-free episodes are kept.
    """
    content = {
        "shards": [header.meta.checksum for header in headers],
        "held_out": split.held_out.tolist(),
        "labelled": split.labelled.tolist(),
        "rewards_on_action_free": rewards_on_action_free,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def data_summary(
    headers: Sequence[ShardHeader],
    store: EpisodeStore,
    spec: DataSpec,
    rewards_on_action_free: bool,
) -> dict[str, int | float | str]:
    """The key figures of the episodes and of the spec, for tables.

    Args:
        headers: Of the shards.
        store: The data.
        spec: From :func:`data_spec`.
        rewards_on_action_free: Whether the rewards of action-free episodes are kept.
    """
    on_disk = sum(int(header.episodes.has_reward.sum()) for header in headers)
    return {
        "environment": spec.env_id or "unknown",
        "shards": len(headers),
        "labelled episodes": len(store.labelled),
        "labelled transitions": store.num_transitions(store.labelled),
        "action-free episodes": len(store.free),
        "action-free transitions": store.num_transitions(store.free),
        "held-out episodes": len(store.held_out),
        "episodes with rewards": int(store.has_reward[store.labelled.start :].sum()),  # training
        "episodes with hidden rewards": on_disk - int(store.has_reward.sum()),
        "rewards on action-free": "kept" if rewards_on_action_free else "hidden",
        "observations": ", ".join(f"{k} {o.shape}" for k, o in spec.observations.items()),
        "action dimensions": spec.action_dim,
        "return mean": spec.return_mean,
        "return best": spec.return_best,
        "data (MB)": round(sum(header.num_bytes for header in headers) / 1e6, 1),
    }


def _training_returns(headers: Sequence[ShardHeader], split: EpisodeSplit) -> NDArray[np.float64]:
    """Returns of all episodes but the held-out that have rewards on disk, hidden or not."""
    returns = np.concatenate([header.episodes.episode_return for header in headers])
    training: NDArray[np.float64] = returns[np.r_[split.labelled, split.free]]
    return training[np.isfinite(training)]


__all__ = ["data_fingerprint", "data_spec", "data_summary"]
