"""What the user may say of an import."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from lawm.data_modules.importers.importer import Convention, Importer, SourceOptions
from lawm.data_modules.importers.video_options import VideoOptions
from lawm.envs import make_env
from lawm.errors import LawmError
from lawm.user_modules import allow_import_options

MIN_TIMESTEP, MAX_TIMESTEP = 1e-6, 1e3  # seconds


@dataclass(frozen=True)
class ImportOptions:
    """Everything but source and target; the defaults ask for what the source itself says."""

    format: str = ""  # empty: detected
    env_id: str = ""  # such as "dm_control/walker-walk"; empty where unknown
    action_repeat: int | None = None  # None: what the source says, else 1
    control_timestep: float = 0.0  # seconds, before action repeat; 0: what source or env_id say
    action_bounds: tuple[float, float] | None = None  # low and high of every dimension
    measure_bounds: bool = False  # take the range that the actions span, per dimension
    action_convention: Convention | None = None
    keys: tuple[str, ...] = ()  # KEY or KEY=NAME; empty: all that are fit
    filter: str = ""
    max_episode_steps: int = 0  # 0: not given
    max_episodes: int | None = None  # None: all
    action_free: bool = False
    relabel: bool = False  # with env_id: its task's rewards, computed from simulator states
    stored_rewards: bool = False
    overwrite: bool = False
    more_sources: tuple[Path, ...] = ()
    video: VideoOptions = field(default_factory=VideoOptions)

    def __post_init__(self) -> None:
        if self.action_repeat is not None and self.action_repeat < 1:
            raise LawmError(f"--action-repeat is {self.action_repeat}; expected at least 1.")
        if self.control_timestep and not MIN_TIMESTEP <= self.control_timestep <= MAX_TIMESTEP:
            raise LawmError(
                f"--control-timestep is {self.control_timestep:g}; expected seconds from "
                f"{MIN_TIMESTEP:g} to {MAX_TIMESTEP:g}."
            )
        if self.action_bounds is not None and self.measure_bounds:
            raise LawmError("--action-bounds and --measure-bounds contradict; give one of them.")
        if self.relabel and (not self.env_id or (self.action_repeat or 1) > 1):
            raise LawmError(
                "--relabel computes the rewards of a task for single control steps; expected the "
                "task with --env ID, and no --action-repeat."
            )
        if self.max_episodes is not None and self.max_episodes < 1:
            raise LawmError(f"--max-episodes is {self.max_episodes}; expected at least 1.")
        if self.max_episode_steps < 0:
            raise LawmError(
                f"--max-episode-steps is {self.max_episode_steps}; expected at least 1."
            )

    def for_source(self, importer: Importer) -> SourceOptions:
        """Those that only some formats take.

        Raises:
            LawmError: One is given that this format does not take.
        """
        options = SourceOptions(
            filter=self.filter,
            max_episode_steps=self.max_episode_steps,
            relabel_env=self.env_id if self.relabel else "",
            stored_rewards=self.stored_rewards,
            more_sources=self.more_sources,
            video=self.video if self.video != VideoOptions() else None,
        )
        for name in (option.name for option in fields(SourceOptions)):
            if getattr(options, name) and name not in importer.options:
                flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
                raise LawmError(
                    f"{flag} is not for the format {importer.name}, which has "
                    "nothing that it could mean. Leave it out."
                )
        if "video" in importer.options:
            return replace(options, video=self._timed_video())
        return options

    def _timed_video(self) -> VideoOptions:
        """With the step of the environment, where one is named."""
        video = replace(self.video, action_repeat=self.action_repeat or 1)
        if not self.env_id:
            return replace(video, control_timestep=self.control_timestep)
        if video.fps or self.control_timestep:
            raise LawmError(
                f"--env {self.env_id} says how long a step is; leave out --fps and "
                "--control-timestep."
            )
        env = make_env(self.env_id, video.action_repeat)
        env.close()
        return replace(video, control_timestep=env.control_timestep)

    def command(self, source: Path, path: Path) -> str:
        """The command line that imports the same again."""
        words = ["lawm", "data", "import"]
        for name in ("format", "env_id", "action_convention", "filter"):
            if getattr(self, name):
                words += [FLAGS.get(name, f"--{name.replace('_', '-')}"), getattr(self, name)]
        for name in ("action_repeat", "max_episode_steps", "max_episodes"):
            if getattr(self, name):
                words += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        if self.control_timestep:
            words += ["--control-timestep", str(self.control_timestep)]
        if self.action_bounds is not None:
            words += ["--action-bounds", *map(str, self.action_bounds)]
        for name in ("measure_bounds", "action_free", "relabel", "stored_rewards"):
            words += [f"--{name.replace('_', '-')}"] if getattr(self, name) else []
        words += self.video.words()
        words += [str(one) for one in (source, *self.more_sources, path)]
        words += ["--keys", *self.keys] if self.keys else []
        words += allow_import_options()
        return shlex.join(words)


FLAGS = {
    "env_id": "--env",
    "relabel_env": "--relabel",
    "more_sources": "More than one source",
    "video": "A setting of videos (--size, --fps and so on)",
}

__all__ = ["ImportOptions"]
