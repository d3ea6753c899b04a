"""Pictures without a screen: which OpenGL works here, and the one look that all pictures have."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
from types import ModuleType

from lawm.errors import LawmError
from lawm.python_process import import_environment, python_command

# Without shadows, reflections and multisampling a picture costs a tenth. Pictures for data and
# for evaluation must agree, so there is one setting and no option.
SHADOWS = False
REFLECTIONS = False
MULTISAMPLES = 0

VARIABLE = "MUJOCO_GL"
_CONTEXTS = {  # in the order tried
    "egl": ("dm_control._render.pyopengl.egl_renderer", "EGLContext"),
    "osmesa": ("dm_control._render.pyopengl.osmesa_renderer", "OSMesaContext"),
}
BACKENDS = tuple(_CONTEXTS)
_OFF = ("off", "false", "0", "disable", "disabled")  # that both MuJoCo and dm_control heed
_PROBE = "from dm_control import _render; _render.Renderer(8, 8).free()"
_PROBE_SECONDS = 20  # both together stay below the time that an evaluation waits for a step
_ADVICE = "Install EGL (Debian: libegl1, libgl1-mesa-dri) or OSMesa (libosmesa6)"


@functools.cache
def import_suite() -> ModuleType:
    """``dm_control.suite``, imported without a renderer: state runs need no OpenGL.

    dm_control chooses its renderer when it is imported, by MUJOCO_GL. Unless a backend that we do
    not know is asked for, it is told that there is none, and :func:`use_working_renderer` puts one
    in when the first picture is asked for.
    """
    wanted = os.environ.get(VARIABLE)
    if _wanted_backend() in ("", *BACKENDS, *_OFF):
        os.environ[VARIABLE] = "disable"
    try:
        from dm_control import suite
    finally:  # what the user said is still to be heeded, here and in child processes
        os.environ.pop(VARIABLE, None)
        if wanted is not None:
            os.environ[VARIABLE] = wanted
    return suite  # type: ignore[no-any-return]


def use_working_renderer() -> str:
    """Give this process the renderer of :func:`working_backend`.

    Returns:
        Its name.

    Raises:
        LawmError: There is none.
    """
    import_suite()
    from dm_control import _render

    if _render.BACKEND not in _render.constants.NO_RENDERER:
        return str(_render.BACKEND)  # dm_control was imported with one
    backend = working_backend()
    # Mesa's software renderer hands each picture to threads; for small ones that takes longer than
    # drawing them, by a fifth of the processor time and more on a busy machine.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    module, context = _CONTEXTS[backend]
    _render.Renderer = getattr(importlib.import_module(module), context)
    return backend


@functools.cache
def working_backend() -> str:
    """The renderer named by MUJOCO_GL, else EGL, else OSMesa.

    Each candidate is tried in a process of its own, because PyOpenGL cannot change its platform
    once it is loaded and a broken driver may crash or hang. Takes some seconds the first time.

    Raises:
        LawmError: None of them works, or MUJOCO_GL switches rendering off.
    """
    wanted = _wanted_backend()
    if wanted in _OFF:
        raise LawmError(
            f"Pictures were asked for, but {VARIABLE}={os.environ[VARIABLE]} switches rendering "
            f"off. Unset {VARIABLE}, and lawm chooses what works, or set it to egl or osmesa."
        )
    reasons = []
    for backend in [wanted] if wanted in BACKENDS else BACKENDS:
        reason = reason_not_to_use(backend)
        if reason is None:
            return backend
        reasons.append(f"{backend}: {reason}")
    if wanted in BACKENDS:
        raise LawmError(
            f"Pictures were asked for, and {VARIABLE}={wanted} does not work on this machine "
            f"({reasons[0]}). {_ADVICE}, or unset {VARIABLE} to have another one tried."
        )
    raise LawmError(
        "Pictures were asked for and no off-screen renderer works on this machine "
        f"({'; '.join(reasons)}). {_ADVICE}, or leave rendering out."
    )


def reason_not_to_use(backend: str) -> str | None:
    """Try one of :data:`BACKENDS` in a process of its own; None if it works."""
    environment = {k: v for k, v in import_environment().items() if k != "PYOPENGL_PLATFORM"}
    try:
        probe = subprocess.run(
            python_command("-c", _PROBE),
            env={**environment, VARIABLE: backend},
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


def _wanted_backend() -> str:
    """What MUJOCO_GL says; empty counts as unset."""
    return os.environ.get(VARIABLE, "").strip().lower()


__all__ = [
    "BACKENDS",
    "MULTISAMPLES",
    "REFLECTIONS",
    "SHADOWS",
    "import_suite",
    "reason_not_to_use",
    "use_working_renderer",
    "working_backend",
]
