"""Simulator states to pictures, an episode at a time, here or in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lawm.envs.dm_control import DMControlEnvironment
from lawm.envs.pixel_observations import PixelObservations
from lawm.envs.registry import make_env
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec


@dataclass(frozen=True)
class Rendered:
    """What the simulator gave in T states."""

    pictures: dict[str, NDArray[np.uint8]]  # by observation key, each (T, H, W, C)
    obs: NDArray[np.float32]  # (T, D) of the key "state"
    follows: NDArray[np.bool_]  # (D,) which of them are functions of the state alone


class Scene:
    """A task's simulator that is put into given states.

    Args:
        env_id: Such as ``dm_control/walker-walk``.
        renderer: Of the pictures.

    Raises:
        LawmError: There is no such task, or it is none of dm_control's.
    """

    def __init__(self, env_id: str, renderer: RendererSpec) -> None:
        env = make_env(env_id)
        if not isinstance(env, DMControlEnvironment):
            raise LawmError(
                f"Nothing can be rendered for {env_id}: only tasks of dm_control can be put into a "
                "state of the simulator."
            )
        env.reset()
        self._env, self._pixels = env, PixelObservations(env, renderer)

    def render(self, states: NDArray[np.float64]) -> Rendered:
        """Pictures and observations in states (T, P)."""
        obs, pictures = [], []
        for state in states:
            obs.append(self._env.set_physics_state(state)["state"])
            pictures.append(self._pixels.pictures())
        return Rendered(
            {key: np.stack([of_step[key] for of_step in pictures]) for key in pictures[0]},
            np.stack(obs),
            self._env.follows_from_state(),
        )

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


def render_episodes(
    env_id: str,
    renderer: RendererSpec,
    episodes: Iterable[NDArray[np.float64]],
    workers: int = 1,
) -> Iterator[Rendered]:
    """Render episode after episode; few of them are in memory at a time.

    Args:
        env_id: Such as ``dm_control/walker-walk``.
        renderer: Of the pictures.
        episodes: The states (T, P) of each.
        workers: Processes that render; 1 renders in this one.

    Raises:
        LawmError: As :class:`Scene`, no renderer works here, or a process died.
    """
    if workers == 1:
        scene = Scene(env_id, renderer)
        try:
            yield from map(scene.render, episodes)
        finally:
            scene.close()
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _set_up, (env_id, renderer)
    )
    waiting: deque[Future[Rendered]] = deque()
    try:
        for states in episodes:
            waiting.append(pool.submit(_render, states))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise LawmError(
            "A process that rendered died, as it does where memory is short or a driver is broken. "
            "Try `lawm doctor`, and --workers 1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_scenes: list[Scene] = []  # of a worker: the one that it renders


def _set_up(env_id: str, renderer: RendererSpec) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent acts
    _scenes.append(Scene(env_id, renderer))


def _render(states: NDArray[np.float64]) -> Rendered:
    return _scenes[0].render(states)


__all__ = ["Rendered", "Scene", "render_episodes"]
