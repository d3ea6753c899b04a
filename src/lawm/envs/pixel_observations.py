"""Pictures of the simulator as observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lawm.envs.environment import Environment
from lawm.envs.rendering import MULTISAMPLES, REFLECTIONS, SHADOWS
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec, camera_keys


class PixelObservations:
    """An environment that gives pictures beside what it observes anyway.

    Args:
        env: The environment; closed with this one.
        renderer: Size, cameras and look of the pictures.

    Raises:
        LawmError: The environment lacks a camera, or pictures are not made with this look here.
    """

    def __init__(self, env: Environment, renderer: RendererSpec) -> None:
        names = env.camera_names()
        for key, camera in renderer.cameras.items():
            if camera not in names:
                raise LawmError(
                    f"The pictures `{key}` were taken by the camera {camera!r}, which "
                    f"{env.env_id} does not have. {_listed(env)}"
                )
        if renderer != make_look(renderer.width, renderer.height, renderer.cameras):
            raise LawmError(
                f"The pictures of the data were rendered as {renderer}, but environments render "
                f"with shadows {SHADOWS}, reflections {REFLECTIONS} and {MULTISAMPLES} "
                "multisamples. Render the data anew with `lawm data render`."
            )
        self._env, self._renderer = env, renderer
        self.env_id, self.action_repeat = env.env_id, env.action_repeat
        self.control_timestep = env.control_timestep
        self.action_low, self.action_high = env.action_low, env.action_high

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """See :meth:`Environment.reset`."""
        return self._env.reset(seed) | self.pictures()

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool]:
        """See :meth:`Environment.step`."""
        obs, reward, terminated, truncated = self._env.step(action)
        return obs | self.pictures(), reward, terminated, truncated

    def pictures(self) -> dict[str, np.ndarray]:
        """The present state by every camera, each (H, W, C) uint8."""
        height, width, _ = self._renderer.shape
        return {
            key: self._env.render(height, width, camera)
            for key, camera in self._renderer.cameras.items()
        }

    def physics_state(self) -> np.ndarray:
        """See :meth:`Environment.physics_state`."""
        return self._env.physics_state()

    def camera_names(self) -> tuple[str, ...]:
        """See :meth:`Environment.camera_names`."""
        return self._env.camera_names()

    def render(self, height: int, width: int, camera: int | str) -> np.ndarray:
        """See :meth:`Environment.render`; any size, as for a film of the episode."""
        return self._env.render(height, width, camera)

    def close(self) -> None:
        """See :meth:`Environment.close`."""
        self._env.close()


def make_renderer(env: Environment, size: int, cameras: Sequence[str]) -> RendererSpec:
    """How pictures of an environment are to be taken.

    Args:
        env: The environment.
        size: Pixels a side.
        cameras: Names or numbers; none takes the first one.

    Raises:
        LawmError: The environment has no such camera, one is named twice, or the size makes no
            sense.
    """
    names = env.camera_names()
    chosen = []
    for camera in cameras or ["0"]:
        name = camera
        if camera not in names and camera.isdecimal() and int(camera) < len(names):
            name = names[int(camera)]
        if name not in names:
            raise LawmError(f"{env.env_id} has no camera {camera!r}. {_listed(env)}")
        if name in chosen:
            raise LawmError(f"The camera {name!r} is named twice; each gives one observation key.")
        chosen.append(name)
    return make_look(size, size, camera_keys(chosen))


def make_look(width: int, height: int, cameras: dict[str, str]) -> RendererSpec:
    """The look that environments give here, at some size and by some cameras."""
    return RendererSpec(width, height, cameras, SHADOWS, REFLECTIONS, MULTISAMPLES)


def _listed(env: Environment) -> str:
    names = env.camera_names()
    if not names:
        return "It has no cameras at all."
    return f"Its cameras: {', '.join(f'{i} ({name})' for i, name in enumerate(names))}."


__all__ = ["PixelObservations", "make_look", "make_renderer"]
