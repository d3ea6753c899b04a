"""Pictures without a screen: which OpenGL works here, and the one look that all pictures have."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys

from lawm.errors import LawmError

# Without shadows, reflections and multisampling a picture costs a tenth. Pictures for data and
# for evaluation must agree, so there is one setting and no option.
RENDER_FLAGS = {"shadow": False, "reflection": False}
SHADOW_SIZE = 0
MULTISAMPLES = 0

_CONTEXTS = {  # in the order tried
    "egl": ("dm_control._render.pyopengl.egl_renderer", "EGLContext"),
    "osmesa": ("dm_control._render.pyopengl.osmesa_renderer", "OSMesaContext"),
}
BACKENDS = tuple(_CONTEXTS)
_PROBE = "from dm_control import _render; _render.Renderer(8, 8).free()"
_PROBE_SECONDS = 20  # both together stay below the time that an evaluation waits for a step


@functools.cache
def use_working_renderer() -> None:
    """Give this process a renderer: the one named by MUJOCO_GL, else EGL, else OSMesa.

    dm_control chooses its renderer once, when it is imported, and we import it with rendering
    switched off; here the renderer is put in afterwards. Each candidate is tried in a process of
    its own first, because PyOpenGL cannot change its platform once it is loaded.

    Raises:
        LawmError: None of them works.
    """
    from dm_control import _render

    if _render.BACKEND not in _render.constants.NO_RENDERER:
        return
    reasons = []
    for backend, (module, context) in _CONTEXTS.items():
        reason = reason_not_to_use(backend)
        if reason is None:
            _render.Renderer = getattr(importlib.import_module(module), context)
            return
        reasons.append(f"{backend}: {reason}")
    raise LawmError(
        "Pictures were asked for and no off-screen renderer works on this machine "
        f"({'; '.join(reasons)}). Install EGL (Debian: libegl1, libgl1-mesa-dri) or OSMesa "
        "(libosmesa6), or leave rendering out."
    )


def reason_not_to_use(backend: str) -> str | None:
    """Try one of :data:`BACKENDS` in a process of its own; None if it works."""
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"}
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**environment, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS} s"
    if probe.returncode == 0:
        return None
    last_line = probe.stderr.strip().rsplit("\n", 1)[-1]
    return last_line or f"exit code {probe.returncode}"


__all__ = [
    "BACKENDS",
    "MULTISAMPLES",
    "RENDER_FLAGS",
    "SHADOW_SIZE",
    "reason_not_to_use",
    "use_working_renderer",
]
