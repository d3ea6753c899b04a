"""Pictures for a shard of states, from the simulator states that it holds."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lawm import __version__
from lawm.data_modules.episode import Episode
from lawm.data_modules.episode_copy import read_episode, refuse_same
from lawm.data_modules.episode_pictures import Rendered, render_episodes
from lawm.data_modules.shard_reader import OpenShard, open_shard
from lawm.data_modules.shard_writer import ShardWriter
from lawm.envs import make_env
from lawm.envs.physics_from_observations import DOMAINS, physics_from_observations
from lawm.envs.pixel_observations import make_renderer
from lawm.envs.rendering import working_backend
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec

TOLERANCE = 1e-4  # between stored observations and those of the simulator in the stored states
LOG_EVERY = 10  # episodes from one line to the next where there is no terminal to draw a bar on
STATE = "state"  # the key that the simulator's observations are compared with
PACKAGES = ("numpy", "h5py", "dm_control", "mujoco")


@dataclass(frozen=True)
class RenderConfig:
    """What `lawm data render` was asked for; the names are those of its options."""

    source: Path
    path: Path
    size: int = 64  # pixels a side
    camera: tuple[str, ...] = ()  # names or numbers; none is the first camera
    from_observations: bool = False  # work the simulator's states out
    no_states: bool = False  # write the pictures alone
    workers: int = 1  # processes
    overwrite: bool = False

    def command(self) -> str:
        """The command line that renders the same again."""
        words = ["lawm", "data", "render", str(self.source), str(self.path)]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("source", "path", "workers", "overwrite") or value == field.default:
                continue
            option = f"--{field.name.replace('_', '-')}"
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [option] if value is True else [option, text]
        return shlex.join(words)


@dataclass(frozen=True)
class RenderReport:
    """What was rendered."""

    path: Path
    renderer: RendererSpec
    num_episodes: int
    num_pictures: int
    seconds: float
    largest_error: float  # between stored observations and those of the simulator


def render_shard(config: RenderConfig, console: Console | None = None) -> RenderReport:
    """Write a shard with the pictures of another one; all other numbers are the same.

    Args:
        config: What to render.
        console: Where progress is drawn; standard error by default.

    Raises:
        LawmError: The source has no simulator states, or states of something else; an option makes
            no sense; nothing can be rendered here; or the target cannot be written.
    """
    if config.workers < 1:
        raise LawmError(f"--workers is {config.workers}; expected at least 1.")
    refuse_same([config.source], [config.path])
    console = console or Console(stderr=True)
    with open_shard(config.source) as shard:
        renderer = _check_source(shard, config)
        writer = ShardWriter(
            config.path,
            action_low=shard.meta.action_low,
            action_high=shard.meta.action_high,
            env_id=shard.meta.env_id,
            action_repeat=shard.meta.action_repeat,
            control_timestep=shard.meta.control_timestep,
            provenance=_provenance(shard, config),
            renderer=renderer,
            overwrite=config.overwrite,
            is_copy=True,
        )
        largest, began = 0.0, time.perf_counter()
        with writer:
            shard.check(hashes=True)
            states = _states(shard, config.from_observations)
            rendered = render_episodes(shard.meta.env_id, renderer, states, config.workers)
            for number, episode in enumerate(_with_progress(rendered, shard, console)):
                stored = read_episode(shard, number)
                largest = max(largest, _verify(shard, number, stored, episode))
                obs = episode.pictures if config.no_states else stored.obs | episode.pictures
                writer.add(replace(stored, obs=obs))
    rows = shard.episodes.num_rows * len(renderer.cameras)
    seconds = time.perf_counter() - began
    return RenderReport(config.path, renderer, writer.num_episodes, rows, seconds, largest)


def _check_source(shard: OpenShard, config: RenderConfig) -> RendererSpec:
    """Find out at once what cannot be rendered, and how the rest will be."""
    path, meta = shard.path, shard.meta
    if not meta.env_id:
        raise LawmError(
            f"{path} does not name its environment, so it is not known what to render. Give it at "
            "the import, with `lawm data import --env`."
        )
    env = make_env(meta.env_id, meta.action_repeat)
    renderer = make_renderer(env, config.size, config.camera)
    size = len(env.physics_state())
    env.close()
    if taken := sorted(renderer.cameras.keys() & shard.obs.keys()):
        raise LawmError(
            f"{path} has observations {', '.join(taken)} already. Render the shard of states that "
            "they were made from."
        )
    if STATE not in shard.obs:
        raise LawmError(
            f"{path} has the observations {', '.join(shard.obs)} and no `{STATE}`, by which the "
            "simulator's states are verified."
        )
    physics = shard.arrays.get("physics")
    if physics is None and not config.from_observations:
        domain = meta.env_id.removeprefix("dm_control/").rsplit("-", 1)[0]
        other = ", or add --from-observations: those of this task tell enough"
        raise LawmError(
            f"{path} holds no simulator states (`/physics`) to render from. Collect it again with "
            f"--store-physics or --pixels{other if domain in DOMAINS else ''}."
        )
    if physics is not None and physics.step_shape != (size,):
        raise LawmError(
            f"`/physics` of {path} has {physics.step_shape[0]} numbers a row, but {meta.env_id} "
            f"has {size}: they are states of another task or another version of it."
        )
    return replace(renderer, backend=working_backend())


def _states(shard: OpenShard, from_observations: bool) -> Iterator[NDArray[np.float64]]:
    """The simulator's states of each episode, (T + 1, P)."""
    offset, physics = shard.episodes.offset.tolist(), shard.arrays.get("physics")
    meta = shard.meta
    env = make_env(meta.env_id, meta.action_repeat)
    seconds = env.control_timestep * meta.action_repeat
    env.close()
    for start, stop in pairwise(offset):
        if physics is not None and not from_observations:
            yield physics.read(start, stop)
        else:
            obs = shard.obs[STATE].read(start, stop)
            yield physics_from_observations(meta.env_id, obs, seconds)


def _verify(shard: OpenShard, number: int, stored: Episode, found: Rendered) -> float:
    """The largest difference between the stored observations and those of the simulator."""
    expected = stored.obs[STATE]
    same_shape = expected.shape == found.obs.shape
    error = (
        np.abs(expected - found.obs)[:, found.follows] if same_shape else np.full((1, 1), np.inf)
    )
    largest = float(error.max())
    if largest <= TOLERANCE:
        return largest
    step = int(error.max(axis=1).argmax())
    versions = shard.meta.provenance.get("versions")
    then = versions.get("mujoco", "unknown") if isinstance(versions, dict) else "unknown"
    now = importlib.metadata.version("mujoco")
    raise LawmError(
        f"The simulator's states of episode {number} in {shard.path} do not give its observations: "
        f"at step {step} they differ by {largest:.2g}, allowed are {TOLERANCE:g}. Either they are "
        f"of another task than {shard.meta.env_id} or of another MuJoCo (the shard's: {then}, "
        f"here: {now}), or the task keeps a part of its scene, such as a target, outside of the "
        "simulator's state; then collect with --pixels."
    )


def _with_progress(
    episodes: Iterator[Rendered], shard: OpenShard, console: Console
) -> Iterator[Rendered]:
    """The episodes, while a bar (or, in a log file, a line now and then) is drawn."""
    columns = (TextColumn("render"), BarColumn(bar_width=None), MofNCompleteColumn())
    total = shard.episodes.num_episodes
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("render", total=total)
        for number, episode in enumerate(episodes, 1):
            yield episode
            progress.update(task, completed=number)
            if not console.is_terminal and number % LOG_EVERY == 0:
                progress.print(f"{number} of {total} episodes")


def _provenance(shard: OpenShard, config: RenderConfig) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    source = shard.meta
    return {
        "command": config.command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "physics": "from observations" if config.from_observations else "stored",
        "versions": {"lawm": __version__, "python": platform.python_version(), **versions},
        "sources": [
            {
                "name": shard.path.name,
                "checksum": source.checksum,
                "provenance": source.provenance,
            }
        ],
    }


__all__ = ["TOLERANCE", "RenderConfig", "RenderReport", "render_shard"]
