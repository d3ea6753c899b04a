"""The return of an agent in its environment.

Episodes run in lock-step: each simulator takes one step, then the agent is called once for all of
them. For small policies that is several times faster than one process an episode.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from lawm.envs import make_env
from lawm.envs.rendering import working_backend
from lawm.envs.simulator_fault import SimulatorFault
from lawm.envs.simulator_process import start_simulators
from lawm.envs.simulators import Recording, Simulators
from lawm.errors import LawmError
from lawm.evaluation_result import EvaluationResult
from lawm.renderer_spec import RendererSpec

MAX_EPISODE_STEPS = 100_000
"""Agent steps after which an episode counts as one that never ends.

A hundred times the longest episodes of the DeepMind Control Suite. The time that simulators have
for an answer does not help: each step of such an episode is answered.
"""


class Agent(Protocol):
    """What can be evaluated: maps observations to actions and carries its own memory."""

    def initial_state(self, num: int) -> Any:  # noqa: ANN401  (only the agent knows its type)
        """The memory before the first observations of ``num`` episodes."""
        ...

    def act(
        self,
        obs: dict[str, np.ndarray],
        state: Any,  # noqa: ANN401
    ) -> tuple[np.ndarray, Any]:
        """Act once in each of n episodes; row i must not depend on the other rows.

        Args:
            obs: By key, (n, ...).
            state: From :meth:`initial_state` or the last call.

        Returns:
            Actions (n, A) in the environment's units, and the new memory.
        """
        ...


class Evaluator:
    """Evaluates agents in one task again and again; keeps the simulators, whose set-up is slow."""

    def __init__(
        self,
        env_id: str,
        action_repeat: int,
        max_parallel: int = 10,
        timeout: float | None = None,
        renderer: RendererSpec | None = None,
    ) -> None:
        """Set up one simulator, so that a wrong name fails here; the others follow when needed.

        Args:
            env_id: For :func:`lawm.envs.make_env`.
            action_repeat: Control steps that one action is held for.
            max_parallel: Episodes in lock-step at a time.
            timeout: Seconds that a step of the simulators may take. With it they live in a worker
                process, and a simulator that crashes or hangs costs one evaluation; None keeps
                them in this process.
            renderer: Of the pictures that the agent sees; None for one that sees none.

        Raises:
            LawmError: No such environment, ``max_parallel`` below one, or pictures that cannot be
                made here.
            SimulatorFault: The simulator cannot be set up in the worker.
        """
        _require_positive("max_parallel", max_parallel)
        self._max_parallel = max_parallel
        if renderer is not None:
            working_backend()  # found out once, and not by every worker
        self._env_id = env_id
        self._make_env = functools.partial(make_env, env_id, action_repeat, renderer=renderer)
        self._timeout = timeout
        self._simulators: Simulators | None = self._make_simulators()

    def run(
        self, agent: Agent, episodes: int = 10, seed: int = 0, recording: Recording | None = None
    ) -> EvaluationResult:
        """Run whole episodes; see :func:`evaluate`. After a fault the next call starts afresh."""
        _require_positive("episodes", episodes)
        began = time.perf_counter()
        if self._simulators is None:
            self._simulators = self._make_simulators()
        simulators = self._simulators
        seeds = tuple(range(seed, seed + episodes))
        chunks = []
        try:
            for first in range(0, episodes, self._max_parallel):
                chunk = seeds[first : first + self._max_parallel]
                chunks.append(_run_lock_step(agent, simulators, self._env_id, chunk, recording))
                if recording:  # the first episodes of all, not of each chunk
                    left = max(recording.episodes - len(chunk), 0)
                    recording = replace(recording, episodes=left)
        except BaseException:  # Ctrl-C too: an answer would wait for the next call
            self.close()  # in the middle of episodes, or dead
            raise
        rewards = [of_episode for chunk in chunks for of_episode in chunk.rewards]
        return EvaluationResult(
            returns=tuple(float(of_episode.sum()) for of_episode in rewards),
            lengths=tuple(len(of_episode) for of_episode in rewards),
            seeds=seeds,
            seconds=time.perf_counter() - began,
            videos=tuple(video for chunk in chunks for video in chunk.videos),
            video_fps=1.0 / simulators.frame_seconds,
            rewards=tuple(rewards),
            first_obs={
                key: np.concatenate([chunk.first_obs[key] for chunk in chunks])
                for key in chunks[0].first_obs
            },
        )

    def close(self) -> None:
        """Free the simulators."""
        if self._simulators is not None:
            self._simulators.close()
            self._simulators = None

    def _make_simulators(self) -> Simulators:
        return start_simulators(self._make_env, self._timeout)


def evaluate(
    agent: Agent,
    env_id: str,
    action_repeat: int,
    episodes: int = 10,
    seed: int = 0,
    max_parallel: int = 10,
    recording: Recording | None = None,
    timeout: float | None = None,
    renderer: RendererSpec | None = None,
) -> EvaluationResult:
    """Run an agent for whole episodes.

    Args:
        agent: Called once per step for all episodes that run side by side. Episodes that are over
            stay in its batch, so that the batch keeps its size, and are ignored.
        env_id: For :func:`lawm.envs.make_env`.
        action_repeat: Control steps that one action is held for.
        episodes: How many.
        seed: Episode i starts from ``seed + i``, so evaluations with one seed are paired.
        max_parallel: Episodes side by side at a time.
        recording: Film the first episodes.
        timeout: As for :class:`Evaluator`.
        renderer: Likewise.

    Raises:
        LawmError: No such environment, a count below one, actions that are not finite or of
            another shape than the environment's, or no renderer for pictures or a recording.
        SimulatorFault: A simulator gave numbers that are not finite, no step, or an episode without
            an end; with a timeout, also one that raised, died or hung.
    """
    evaluator = Evaluator(env_id, action_repeat, max_parallel, timeout, renderer)
    try:
        return evaluator.run(agent, episodes, seed, recording)
    finally:
        evaluator.close()


@dataclass(frozen=True)
class _Episodes:
    """What came of n episodes side by side."""

    first_obs: dict[str, np.ndarray]  # by key, (n, ...)
    rewards: list[np.ndarray]  # each (length,) float64
    videos: list[np.ndarray]  # each (frames, height, width, 3) uint8


def _run_lock_step(
    agent: Agent,
    simulators: Simulators,
    env_id: str,
    seeds: Sequence[int],
    recording: Recording | None,
) -> _Episodes:
    """One episode in each simulator."""
    num = len(seeds)
    latest = simulators.reset(seeds, recording)
    batch = first_batch = _stack([seen.obs for seen in latest])
    rewards: list[list[float]] = [[] for _ in seeds]
    frames = [[seen.picture] for seen in latest]
    running = list(range(num))
    state = agent.initial_state(num)
    while running:
        if len(rewards[running[0]]) >= MAX_EPISODE_STEPS:
            raise SimulatorFault(
                f"the episode of seed {seeds[running[0]]} in {env_id} has not ended after "
                f"{MAX_EPISODE_STEPS:,} steps; expected an environment that says `terminated` or "
                "`truncated` before, as one with a time limit does"
            )
        actions, state = agent.act(batch, state)
        if np.shape(actions) != (num, *simulators.action_low.shape):
            raise LawmError(
                f"The agent's actions for {num} episodes have the shape {np.shape(actions)}, but "
                f"{env_id} takes {(num, *simulators.action_low.shape)}: {num} rows of "
                f"{simulators.action_low.size} numbers. Evaluate it in the environment that it was "
                "trained for."
            )
        for i, seen in zip(running, simulators.step(actions, running), strict=True):
            latest[i] = seen
            rewards[i].append(seen.reward)
            frames[i].append(seen.picture)
        running = [i for i in running if not latest[i].ended]
        batch = _stack([seen.obs for seen in latest])
    return _Episodes(
        first_obs=first_batch,
        rewards=[np.array(of_episode, dtype=np.float64) for of_episode in rewards],
        videos=[
            np.stack([frame for frame in of_episode if frame is not None])
            for of_episode in frames
            if of_episode[0] is not None
        ],
    )


def _stack(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """By key, (n, ...)."""
    return {key: np.stack([obs[key] for obs in observations]) for key in observations[0]}


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise LawmError(f"{name} of the evaluation is {value}, expected at least 1.")


__all__ = ["Agent", "Evaluator", "Recording", "evaluate"]
