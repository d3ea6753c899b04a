"""The DeepMind Control Suite as an :class:`~lawm.envs.environment.Environment`.

dm_control itself is imported by the first call that needs it.
"""

from __future__ import annotations

import difflib
import functools
import logging
from types import ModuleType
from typing import Any

import numpy as np

from lawm.envs import rendering
from lawm.envs.environment import Environment
from lawm.errors import LawmError

SUITE = "dm_control"
_RENDER_FLAGS = {"shadow": rendering.SHADOWS, "reflection": rendering.REFLECTIONS}
# Parts of observations that depend on forces, and so on more than the simulator's state.
_OF_FORCES = ("touch", "touch_sensors", "foot_forces", "force_torque", "imu", "inertial_sensors")
_NO_BOUND = 1e10  # what MuJoCo gives as the bound of an actuator that has none (mjMAXVAL)


def make_env(env_id: str, action_repeat: int = 1, seed: int = 0) -> Environment:
    """Make a task of the suite.

    Args:
        env_id: ``"dm_control/<domain>-<task>"``, e.g. ``"dm_control/ball_in_cup-catch"``.
        action_repeat: Control steps that one action is held for.
        seed: Of the start states; 0 to 2**32 - 1.

    Raises:
        LawmError: No such task, or one whose actions have no bounds.
    """
    if env_id not in env_ids():
        names = [known.removeprefix(f"{SUITE}/") for known in env_ids()]
        near = difflib.get_close_matches(env_id.removeprefix(f"{SUITE}/"), names, n=3)
        hint = f" Nearest: {', '.join(f'{SUITE}/{name}' for name in near)}." if near else ""
        raise LawmError(
            f"Environment {env_id!r} does not exist.{hint} Tasks of this suite are written "
            f"'{SUITE}/<domain>-<task>', such as '{SUITE}/cheetah-run' or "
            f"'{SUITE}/ball_in_cup-catch'."
        )
    return DMControlEnvironment(env_id, action_repeat, seed)


@functools.cache
def env_ids() -> tuple[str, ...]:
    """All ids of the suite, sorted."""
    return tuple(sorted(f"{SUITE}/{domain}-{task}" for domain, task in _suite().ALL_TASKS))


@functools.cache
def _suite() -> ModuleType:
    """``dm_control.suite``."""
    suite = rendering.import_suite()
    # MuJoCo's compiler tells of a deprecated attribute in dm_control's own XML at every load.
    logging.getLogger("absl").addFilter(lambda record: "settotalmass" not in record.getMessage())
    return suite


class DMControlEnvironment:
    """One task; observations are flattened in the suite's order into the key ``"state"``.

    The suite's time limits are truncations; a discount of zero is a termination.
    """

    def __init__(self, env_id: str, action_repeat: int, seed: int) -> None:
        domain, task = env_id.removeprefix(f"{SUITE}/").split("-")
        self.env_id = env_id
        self.action_repeat = action_repeat
        self._env: Any = _suite().load(domain, task, task_kwargs={"random": _checked_seed(seed)})
        self.control_timestep = float(self._env.control_timestep())
        spec = self._env.action_spec()
        self.action_low = np.broadcast_to(spec.minimum, spec.shape).astype(np.float64)
        self.action_high = np.broadcast_to(spec.maximum, spec.shape).astype(np.float64)
        if max(-self.action_low.min(), self.action_high.max()) >= _NO_BOUND:
            raise LawmError(
                f"Environment {env_id!r} has actions without bounds, and a policy here is "
                "squashed into bounds. Choose another task."
            )
        self._in_episode = False
        self._cameras: dict[tuple[int, int, int | str], Any] = {}
        visual = self._env.physics.model.vis  # before a first picture, or it has no effect
        visual.quality.shadowsize = 0  # without shadows; the flag alone does not save the time
        visual.quality.offsamples = rendering.MULTISAMPLES
        visual.global_.offheight = visual.global_.offwidth = 1

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Start an episode; see :meth:`Environment.reset`."""
        if seed is not None:
            self._env.task.random.seed(_checked_seed(seed))
        self._in_episode = True
        return _flatten(self._env.reset().observation)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool]:
        """Take one action, clipped to the bounds; see :meth:`Environment.step`.

        Raises:
            LawmError: The action is not finite, as a diverged policy's is.
        """
        assert self._in_episode, "call reset() first"
        assert action.shape == self.action_low.shape, (action.shape, self.action_low.shape)
        if not np.isfinite(action).all():
            raise LawmError(f"An action for {self.env_id} is not finite: {action.tolist()}.")
        control = np.clip(action.astype(np.float64), self.action_low, self.action_high)
        reward = 0.0
        for _ in range(self.action_repeat):
            time_step = self._env.step(control)
            reward += float(time_step.reward)
            if time_step.last():
                self._in_episode = False
                break
        ended = bool(time_step.last())
        terminated = ended and time_step.discount == 0.0
        return _flatten(time_step.observation), reward, terminated, ended and not terminated

    def physics_state(self) -> np.ndarray:
        """Positions, velocities and activations, (P,) float64."""
        return np.asarray(self._env.physics.get_state(), dtype=np.float64)

    def set_physics_state(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Put the simulator into a state; what the task keeps elsewhere stays as it is.

        Args:
            state: (P,) as :meth:`physics_state` gives it.

        Returns:
            The observation there; what depends on forces is that of a simulator at rest, see
            :meth:`follows_from_state`.
        """
        physics = self._env.physics
        with physics.reset_context():
            physics.set_state(state)
        return _flatten(self._env.task.get_observation(physics))

    def follows_from_state(self) -> np.ndarray:
        """(D,) bool: which numbers of ``"state"`` are functions of :meth:`physics_state` alone."""
        observation = self._env.task.get_observation(self._env.physics)
        return np.concatenate(
            [np.full(np.size(part), name not in _OF_FORCES) for name, part in observation.items()]
        )

    def reward_at(self, state: np.ndarray, action: np.ndarray) -> float:
        """The task's reward on arriving at a simulator state, for one control step.

        Args:
            state: (P,) as :meth:`physics_state` gives it.
            action: (A,) that led there.
        """
        physics = self._env.physics
        with physics.reset_context():
            physics.set_state(state)
        physics.set_control(np.clip(action, self.action_low, self.action_high))
        return float(self._env.task.get_reward(physics))

    def camera_names(self) -> tuple[str, ...]:
        """See :meth:`Environment.camera_names`."""
        model = self._env.physics.model
        return tuple(model.id2name(i, "camera") or str(i) for i in range(model.ncam))

    def render(self, height: int, width: int, camera: int | str = 0) -> np.ndarray:
        """See :meth:`Environment.render`.

        Raises:
            LawmError: No renderer works on this machine.
        """
        key = (height, width, camera)
        if key not in self._cameras:
            rendering.use_working_renderer()
            self._grow_buffer(height, width)
            self._cameras[key] = self._make_camera(height, width, camera)
        picture = self._cameras[key].render(render_flag_overrides=_RENDER_FLAGS)
        return np.array(picture, dtype=np.uint8)  # a copy: the camera keeps one buffer

    def _grow_buffer(self, height: int, width: int) -> None:
        """Make room for a picture: a larger buffer changes no pixel, but each takes longer."""
        physics = self._env.physics
        buffer = physics.model.vis.global_
        if buffer.offheight >= height and buffer.offwidth >= width:
            return
        buffer.offheight = max(buffer.offheight, height)
        buffer.offwidth = max(buffer.offwidth, width)
        if physics._contexts is not None:
            physics._free_rendering_contexts()
        self._cameras.clear()  # they belong to the buffer that was

    def _make_camera(self, height: int, width: int, camera: int | str) -> Any:  # noqa: ANN401
        """One that is kept: making it takes longer than a picture."""
        from dm_control.mujoco import engine

        names = self.camera_names()
        number = camera if isinstance(camera, int) else names.index(camera)
        return engine.Camera(self._env.physics, height, width, camera_id=number)

    def close(self) -> None:
        """Free the simulator and, if there is one, its rendering context."""
        self._env.physics.free()


def _flatten(observation: dict[str, Any]) -> dict[str, np.ndarray]:
    parts = [np.ravel(value) for value in observation.values()]
    return {"state": np.concatenate(parts, dtype=np.float32)}


def _checked_seed(seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise LawmError(f"The environment's seed is {seed}, expected 0 to {2**32 - 1}.")
    return seed


__all__ = ["SUITE", "DMControlEnvironment", "env_ids", "make_env"]
