"""The exploration data of ExORL, and other replay of URLB: states, no pictures.

A folder of ``episode_{index}_{length}.npz``, an episode each, R = length + 1 rows:

    observation  (R, D) float32  the state
    action       (R, A) float32  the action that LED INTO row t; row 0 is a dummy
    reward       (R, 1) float32  of the EXPLORATION task that the data were collected with
    discount     (R, 1) float32  0 at a terminal state
    physics      (R, P) float64  the simulator's state

The rewards are those that the exploring agent gave itself, so they are left out unless they are
asked for; with ``--relabel`` those of the dm_control task in ``--env`` are computed from the
simulator's states instead. ``physics`` is kept in the shard.

Read from the code of denisyarats/exorl (replay_buffer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lawm.data_modules.importers.episode_files import (
    EpisodeFiles,
    RowNames,
    files_in,
    first_names,
)
from lawm.data_modules.importers.importer import (
    Importer,
    RawEpisode,
    Recognition,
    Source,
    SourceFacts,
    SourceOptions,
)
from lawm.envs.relabelling import RewardRelabeller
from lawm.errors import LawmError

NAMES = RowNames(
    action="action",
    reward="reward",
    physics="physics",
    shard_names={"observation": "state"},
)
FACTS = SourceFacts(
    files=(),
    num_episodes=None,
    action_convention="led_into",
    convention_reason="ExORL stores an action with the observation it led to",
)


class ExORL(Importer):
    """See the module."""

    name = "exorl"
    summary = "ExORL and URLB replay: episode_{index}_{length}.npz with observation and physics"
    options = frozenset({"relabel_env", "stored_rewards"})

    def recognises(self, source: Path) -> Recognition:
        """Archives with ``observation``, ``action`` and ``discount``, without ``is_first``."""
        found, name = first_names(source, (".npz",))
        if not found:
            return Recognition(False, name)
        if {"observation", "action", "discount"} <= found and "is_first" not in found:
            return Recognition(True, f"{name} holds {', '.join(sorted(found))}")
        return Recognition(False, f"{name} lacks observation, action or discount")

    @contextmanager
    def open(self, source: Path, options: SourceOptions) -> Iterator[Source]:
        """See :class:`Importer`."""
        files = files_in(source, (".npz",))
        if not files:
            raise LawmError(f"{source} holds no *.npz; expected episode_{{index}}_{{length}}.npz.")
        yield _Replay(files, options)


class _Replay(EpisodeFiles):
    def __init__(self, files: Sequence[Path], options: SourceOptions) -> None:
        super().__init__(files, NAMES, replace(FACTS, files=tuple(files), num_episodes=len(files)))
        self._refuse_stacked_frames(files[0])
        self._options = options
        self._relabeller: RewardRelabeller | None = None
        if options.relabel_env and options.stored_rewards:
            raise LawmError("--relabel and --stored-rewards contradict; give one of them.")
        if options.relabel_env:
            if "physics" not in self._optional:
                raise LawmError(
                    f"{files[0]} has no `physics`, and --relabel computes rewards from it. Leave "
                    "out --relabel."
                )
            self._relabeller = RewardRelabeller(options.relabel_env)
            self.notes.append(
                f"Rewards are those of {options.relabel_env}, computed from the simulator's states."
            )
        elif options.stored_rewards:
            self.notes.append("Rewards are those of the exploration task, as asked for.")
        else:
            self.notes.append(
                "Rewards were left out: they are those of the exploration task. --relabel with "
                "--env computes those of a dm_control task, --stored-rewards takes them as they "
                "are."
            )

    def relabelled(self, episode: RawEpisode) -> RawEpisode:
        """See :class:`EpisodeFiles`."""
        if self._options.stored_rewards:
            return episode
        if self._relabeller is None:
            return replace(episode, reward=None)
        assert episode.physics is not None
        reward = self._relabeller.rewards(episode.physics, episode.action, episode.source_id)
        return replace(episode, reward=reward)

    def _refuse_stacked_frames(self, path: Path) -> None:
        field = self.observations.get("observation")
        if field is None or field.dtype.kind != "f" or len(field.shape) != 1:
            found = "missing" if field is None else f"{field.dtype} of shape {field.shape} a row"
            raise LawmError(
                f"`observation` of {path} is {found}; expected states, a vector of floats a row. "
                "Stacked frames, as DrQ-v2 keeps them, hold no single pictures to learn from."
            )


IMPORTER = ExORL()

__all__ = ["IMPORTER", "ExORL"]
