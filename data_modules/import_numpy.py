"""Import trajectories from a plain numpy archive.

The archive (``numpy.savez``) holds E episodes of T steps each:

    obs  (E, T + 1, D)  float observations, which become the key ``state``
    act  (E, T, A)      the action taken AT ``obs[:, t]``, in the environment's units; optional
    rew  (E, T)         the reward of that transition, summed over the action repeat; optional

An episode whose actions or rewards are NaN throughout is imported without them. Every episode is
taken to end by its time limit.
"""

from __future__ import annotations

import hashlib
import shlex
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm import __version__
from lawm.data_modules.shard_writer import ShardWriter
from lawm.envs import make_env
from lawm.errors import LawmError

RANKS = {"obs": 3, "act": 3, "rew": 2}
BOUND_TOLERANCE = 1e-5  # float32 actions may stand a rounding beyond their bounds


@dataclass(frozen=True)
class ImportReport:
    """What was imported."""

    source: Path
    path: Path
    num_episodes: int
    num_transitions: int
    num_with_action: int  # episodes
    num_with_reward: int  # episodes


@dataclass(frozen=True, eq=False)
class _Task:
    """What the archive does not say of the task."""

    action_low: NDArray[np.float64]  # (A,)
    action_high: NDArray[np.float64]  # (A,)
    control_timestep: float


def import_numpy(
    source: Path,
    path: Path,
    *,
    env_id: str = "",
    action_repeat: int = 1,
    action_bounds: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Write the episodes of an archive as a shard, every number as it is.

    Args:
        source: The ``.npz`` file.
        path: The shard to write.
        env_id: Such as ``dm_control/walker-walk``; gives the control timestep and the action
            bounds, and must fit the archive. Empty where unknown.
        action_repeat: Control steps that one action was held for.
        action_bounds: Low and high of every action dimension; those of the environment by default,
            or -1 and 1 where there is none.
        overwrite: Replace an existing shard.

    Raises:
        LawmError: The archive is missing or damaged, its arrays do not fit each other, the
            environment or the bounds, or the shard cannot be written.
    """
    if action_repeat < 1:
        raise LawmError(f"--action-repeat is {action_repeat}; expected at least 1.")
    arrays = _load(source)
    obs, act, rew = arrays["obs"], arrays.get("act"), arrays.get("rew")
    task = _task(source, arrays, env_id, action_repeat, action_bounds)
    if act is not None:
        _check_bounds(source, act, task)
    writer = ShardWriter(
        path,
        action_low=task.action_low,
        action_high=task.action_high,
        env_id=env_id,
        action_repeat=action_repeat,
        control_timestep=task.control_timestep,
        provenance={
            "command": _command(source, path, env_id, action_repeat, action_bounds),
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"lawm": __version__, "numpy": np.__version__},
        },
        overwrite=overwrite,
    )
    num_with_action = num_with_reward = 0
    with writer:
        for episode in range(len(obs)):
            action, reward = _known(act, episode), _known(rew, episode)
            writer.add_episode(
                {"state": obs[episode]},
                action,
                reward,
                terminated=False,
                truncated=True,
                source_id=f"{source.stem}/{episode}",
            )
            num_with_action += action is not None
            num_with_reward += reward is not None
    return ImportReport(
        source=source,
        path=path,
        num_episodes=len(obs),
        num_transitions=len(obs) * (obs.shape[1] - 1),
        num_with_action=num_with_action,
        num_with_reward=num_with_reward,
    )


def _command(
    source: Path,
    path: Path,
    env_id: str,
    action_repeat: int,
    action_bounds: tuple[float, float] | None,
) -> str:
    """The command line that imports the same again."""
    words = ["lawm", "data", "import"]
    words += ["--env", env_id] if env_id else []
    words += ["--action-repeat", str(action_repeat)]
    words += ["--action-bounds", *map(str, action_bounds)] if action_bounds else []
    return shlex.join([*words, str(source), str(path)])


def _load(source: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the archive, of the right ranks and with sizes that fit each other."""
    if not source.is_file():
        raise LawmError(f"There is no file {source}. Check the path of the archive to import.")
    if not zipfile.is_zipfile(source):
        raise LawmError(f"{source} is not a numpy archive (.npz), or it is truncated.")
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in RANKS if name in archive.files}
            found = archive.files
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LawmError(f"{source} cannot be read as a numpy archive: {error}.") from error
    if "obs" not in arrays:
        raise LawmError(
            f"{source} holds the arrays {sorted(found)}; expected `obs` (E, T + 1, D) and, where "
            "known, `act` (E, T, A) and `rew` (E, T)."
        )
    for name, values in arrays.items():
        if values.ndim != RANKS[name] or values.dtype.kind not in "fiu":
            raise LawmError(
                f"`{name}` of {source} has type {values.dtype} and shape {values.shape}; expected "
                f"numbers along {RANKS[name]} axes."
            )
    episodes, rows = arrays["obs"].shape[:2]
    for name in arrays.keys() - {"obs"}:
        if arrays[name].shape[:2] != (episodes, rows - 1):
            raise LawmError(
                f"`{name}` of {source} has shape {arrays[name].shape} beside `obs` of shape "
                f"{arrays['obs'].shape}; expected {episodes} episodes of {rows - 1} steps, one "
                "fewer than there are observations."
            )
    arrays["obs"] = arrays["obs"].astype(np.float64 if arrays["obs"].itemsize > 4 else np.float32)
    return arrays


def _task(
    source: Path,
    arrays: dict[str, NDArray[Any]],
    env_id: str,
    action_repeat: int,
    action_bounds: tuple[float, float] | None,
) -> _Task:
    action_dim = arrays["act"].shape[2] if "act" in arrays else 0
    low, high = action_bounds or (-1.0, 1.0)
    if not env_id:
        return _Task(np.full(action_dim, low), np.full(action_dim, high), control_timestep=0.0)
    env = make_env(env_id, action_repeat)
    obs_dims = {key: value.shape for key, value in env.reset().items()}
    env.close()
    if obs_dims != {"state": arrays["obs"].shape[2:]}:
        raise LawmError(
            f"`obs` of {source} has {arrays['obs'].shape[2]} dimensions, but {env_id} has the "
            f"observations {obs_dims}. Name the environment that the archive came from."
        )
    if "act" in arrays and action_dim != len(env.action_low):
        raise LawmError(
            f"`act` of {source} has {action_dim} dimensions, but {env_id} has "
            f"{len(env.action_low)}. Name the environment that the archive came from."
        )
    if action_bounds is None:
        return _Task(env.action_low, env.action_high, env.control_timestep)
    action_dim = len(env.action_low)
    return _Task(np.full(action_dim, low), np.full(action_dim, high), env.control_timestep)


def _check_bounds(source: Path, act: NDArray[Any], task: _Task) -> None:
    slack = BOUND_TOLERANCE * (task.action_high - task.action_low)
    outside = (act < task.action_low - slack) | (act > task.action_high + slack)
    if outside.any():
        raise LawmError(
            f"`act` of {source} reaches from {np.nanmin(act):g} to {np.nanmax(act):g}, beyond the "
            f"bounds {task.action_low.min():g} to {task.action_high.max():g}. Give the bounds of "
            "the environment with --action-bounds LOW HIGH."
        )


def _known(values: NDArray[Any] | None, episode: int) -> NDArray[Any] | None:
    if values is None or np.isnan(values[episode]).all():
        return None
    part: NDArray[Any] = values[episode]
    return part


__all__ = ["ImportReport", "import_numpy"]
