"""Small shards for tests, whose numbers say which episode and step they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lawm.data_modules.shard_writer import ShardWriter

EPISODE_STRIDE = 1000  # a counter value is EPISODE_STRIDE * episode + step
ACTION_SCALE = 1e-5  # brings counters of up to 100 episodes into [-1, 1]
IMAGE_SHAPE = (8, 8, 3)


def write_shard(
    path: Path | str,
    *,
    lengths: Sequence[int],
    has_action: bool | Sequence[bool] = True,
    has_reward: bool | Sequence[bool] = True,
    obs_dim: int = 3,
    action_dim: int = 2,
    counter: bool = True,
    env_id: str = "",
    seed: int = 0,
    image: bool = False,
    image_key: str = "camera",
    terminated: Sequence[int] = (),
) -> Path:
    """Write a shard of made-up episodes.

    Args:
        path: The file; it is replaced if it exists.
        lengths: Transitions of each episode, below 1000.
        has_action: For all episodes, or one by one.
        has_reward: Likewise.
        obs_dim: D of the key ``state``.
        action_dim: A; the bounds are -1 and 1.
        counter: ``state`` and reward of step t of episode e are ``1000 e + t`` in every dimension,
            the action is that times 1e-5. Else normal states and rewards, uniform actions.
        env_id: Written into the shard.
        seed: Of the numbers where ``counter`` is false, and of the images.
        image: Add images, uint8 (T + 1, 8, 8, 3), whose pixels are ``t % 256``.
        image_key: Their key.
        terminated: Numbers of the episodes that end in a terminal state.
    """
    rng = np.random.default_rng(seed)
    knows_action = np.broadcast_to(np.asarray(has_action), len(lengths))
    knows_reward = np.broadcast_to(np.asarray(has_reward), len(lengths))
    ones = np.ones(action_dim)
    with ShardWriter(
        path, action_low=-ones, action_high=ones, env_id=env_id, overwrite=True
    ) as writer:
        for episode, length in enumerate(lengths):
            steps = EPISODE_STRIDE * episode + np.arange(length + 1.0)
            if counter:
                state = np.repeat(steps[:, None], obs_dim, axis=1)
                action = np.repeat(steps[:-1, None] * ACTION_SCALE, action_dim, axis=1)
                reward = steps[:-1]
            else:
                state = rng.normal(size=(length + 1, obs_dim))
                action = rng.uniform(-1.0, 1.0, size=(length, action_dim))
                reward = rng.normal(size=length)
            obs = {"state": state}
            if image:
                pixels = (np.arange(length + 1) % 256).astype(np.uint8)
                obs[image_key] = np.broadcast_to(
                    pixels[:, None, None, None], (length + 1, *IMAGE_SHAPE)
                )
            writer.add_episode(
                obs,
                action if knows_action[episode] else None,
                reward if knows_reward[episode] else None,
                terminated=episode in terminated,
                truncated=episode not in terminated,
                source_id=f"episode/{episode}",
            )
    return Path(path)
