"""Collect real trajectories with a behaviour policy and write them as a shard."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from lawm import __version__
from lawm.data_modules.behaviour import Behaviour, Kept, RandomBehaviour
from lawm.data_modules.deferred_interrupt import deferred_interrupt
from lawm.data_modules.episode import Episode
from lawm.data_modules.sac_behaviour import Keep, SacBehaviour
from lawm.data_modules.shard_writer import ShardWriter
from lawm.envs import make_env
from lawm.envs.pixel_observations import make_renderer
from lawm.envs.rendering import working_backend
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec
from lawm.return_number import return_number
from lawm.user_modules import allow_import_options

LOG_EVERY = 10  # episodes from one line to the next where there is no terminal to draw a bar on
RECENT = 10  # episodes that the shown mean return covers
PACKAGES = ("numpy", "h5py", "dm_control", "mujoco")
SAC_PACKAGES = ("stable_baselines3", "gymnasium", "torch")


@dataclass(frozen=True)
class CollectConfig:
    """What `lawm data collect` was asked for; the names are those of its options."""

    path: Path
    env: str  # "dm_control/cheetah-run"
    policy: Literal["random", "sac"] = "random"
    steps: int = 10_000  # agent steps, each of action_repeat control steps
    action_repeat: int = 2
    seed: int = 0
    keep: Keep = "replay"  # of sac: its whole replay, rollouts of its checkpoints, or both
    checkpoint_every: int = 10_000  # of sac's rollouts: agent steps between checkpoints
    rollout_episodes: int = 5  # of sac's rollouts: episodes of each checkpoint
    store_physics: bool = False
    pixels: int | None = None  # side of the pictures that are kept; None keeps none
    camera: tuple[str, ...] = ()  # names or numbers; none is the first camera
    no_states: bool = False  # keep the pictures alone
    overwrite: bool = False

    def command(self) -> str:
        """The command line that collects the same again."""
        words = ["lawm", "data", "collect"]
        always = ("env", "policy", "steps", "action_repeat", "seed")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("path", "overwrite") or (
                field.name not in always and value == field.default
            ):
                continue
            option = f"--{field.name.replace('_', '-')}"
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [option] if value is True else [option, text]
        return shlex.join([*words, *allow_import_options(), str(self.path)])

    def check(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            LawmError: Names the option, its value and what was expected.
        """
        for name in ("steps", "action_repeat", "checkpoint_every", "rollout_episodes"):
            if getattr(self, name) < 1:
                raise LawmError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; expected at least 1."
                )
        if self.keep != "replay" and self.policy != "sac":
            raise LawmError(f"--keep {self.keep} needs --policy sac; {self.policy} learns nothing.")
        if self.keep == "rollouts" and self.checkpoint_every > self.steps:
            raise LawmError(
                f"--checkpoint-every is {self.checkpoint_every}, beyond --steps {self.steps}: no "
                "checkpoint would be rolled out. Lower the one or raise the other."
            )
        if self.pixels is None and (self.camera or self.no_states):
            option = "--camera" if self.camera else "--no-states"
            raise LawmError(f"{option} needs --pixels SIZE, such as --pixels 64.")


@dataclass(frozen=True)
class CollectReport:
    """What was collected."""

    path: Path
    returns: tuple[float, ...]  # of each episode written
    num_steps: int  # agent steps that the behaviour took
    interrupted: bool  # by Ctrl-C, after whole episodes that were written


def collect(config: CollectConfig, console: Console | None = None) -> CollectReport:
    """Collect and write a shard; Ctrl-C writes the whole episodes gathered so far.

    Args:
        config: What to collect.
        console: Where progress is drawn; standard error by default.

    Raises:
        LawmError: A setting makes no sense, the target exists, an extra is missing, or not one
            whole episode fits the steps.
    """
    config.check()
    console = console or Console(stderr=True)
    probe = make_env(config.env, config.action_repeat, config.seed)
    renderer = None
    if config.pixels is not None:
        renderer = make_renderer(probe, config.pixels, config.camera)
        renderer = replace(renderer, backend=working_backend())
    writer = ShardWriter(
        config.path,
        action_low=probe.action_low,
        action_high=probe.action_high,
        env_id=config.env,
        action_repeat=config.action_repeat,
        control_timestep=probe.control_timestep,
        renderer=renderer,
        overwrite=config.overwrite,
    )
    probe.close()
    returns: list[float] = []
    interrupted = False
    with writer:
        behaviour = _make_behaviour(config, renderer)
        try:
            for episode in _with_progress(behaviour, config, console):
                with deferred_interrupt():
                    writer.add(episode)
                    returns.append(episode.episode_return)
        except KeyboardInterrupt:
            interrupted = True
            console.print(f"Interrupted after {len(returns)} whole episodes.")
        if interrupted and not returns:
            raise LawmError(f"{config.path} was not written: no episode had ended yet.")
        if not returns:
            raise LawmError(
                f"{behaviour.num_steps} steps of {config.env} at action repeat "
                f"{config.action_repeat} hold no whole episode, so {config.path} was not written. "
                "Raise --steps."
            )
        writer.provenance = _provenance(config, behaviour, interrupted)
    return CollectReport(config.path, tuple(returns), behaviour.num_steps, interrupted)


def _make_behaviour(config: CollectConfig, renderer: RendererSpec | None) -> Behaviour:
    common: dict[str, Any] = {
        "action_repeat": config.action_repeat,
        "steps": config.steps,
        "seed": config.seed,
        "kept": Kept(physics=config.store_physics, states=not config.no_states, renderer=renderer),
    }
    if config.policy == "random":
        return RandomBehaviour(config.env, **common)
    return SacBehaviour(
        config.env,
        **common,
        keep=config.keep,
        checkpoint_every=config.checkpoint_every,
        rollout_episodes=config.rollout_episodes,
    )


def _with_progress(
    behaviour: Behaviour, config: CollectConfig, console: Console
) -> Iterator[Episode]:
    """The behaviour's episodes, while a bar (or, in a log file, a line now and then) is drawn."""
    columns = (
        TextColumn(config.policy),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    returns: list[float] = []
    with Progress(*columns, console=console, speed_estimate_period=120.0) as progress:
        task = progress.add_task("collect", total=config.steps, note="first episode")
        for episode in behaviour.episodes():
            yield episode
            returns.append(episode.episode_return)
            recent = float(np.mean(returns[-RECENT:]))
            speed = behaviour.num_steps / max(progress.tasks[0].elapsed or 0.0, 1e-9)
            note = f"{len(returns)} episodes · return {return_number(recent)} · {speed:.0f} steps/s"
            progress.update(task, completed=behaviour.num_steps, note=note)
            if not console.is_terminal and len(returns) % LOG_EVERY == 0:
                progress.print(f"{behaviour.num_steps} of {config.steps} steps · {note}")


def _provenance(config: CollectConfig, behaviour: Behaviour, interrupted: bool) -> dict[str, Any]:
    packages = PACKAGES + (SAC_PACKAGES if config.policy == "sac" else ())
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "command": config.command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "policy": behaviour.settings(),
        "agent_steps": behaviour.num_steps,
        "interrupted": interrupted,
        "versions": {"lawm": __version__, "python": platform.python_version(), **versions},
    }


__all__ = ["CollectConfig", "CollectReport", "collect"]
