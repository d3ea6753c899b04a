"""Can an environment give what a model of the data observes? Found out before hours of training."""

from __future__ import annotations

from lawm.envs import make_env
from lawm.envs.rendering import working_backend
from lawm.errors import LawmError
from lawm.spec import DataSpec


def check_environment(spec: DataSpec, env_id: str) -> None:
    """Refuse an environment that cannot give the observations of a data set.

    Nothing is rendered here: where simulators have a process of their own, it alone loads OpenGL.

    Raises:
        LawmError: No such environment or camera, pictures whose renderer is unknown or another
            than here, or no renderer on this machine.
    """
    if unknown := spec.unrendered_images:
        raise LawmError(
            f"{env_id} cannot give the pictures {', '.join(f'`{key}`' for key in unknown)}: the "
            "shards do not say how they were rendered, as imported ones cannot. Evaluate in "
            "nothing, with --evaluation.env_id none, or train on pictures that `lawm data render` "
            "or `lawm data collect --pixels` made."
        )
    if spec.renderer is not None:
        working_backend()
    make_env(env_id, spec.action_repeat, renderer=spec.renderer).close()


__all__ = ["check_environment"]
