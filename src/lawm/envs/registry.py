"""From an environment id to an environment."""

from __future__ import annotations

import difflib
from typing import Protocol

from lawm.envs import dm_control
from lawm.envs.environment import Environment
from lawm.envs.pixel_observations import PixelObservations
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec


class EnvironmentFactory(Protocol):
    """Makes the environments of one suite."""

    def __call__(self, env_id: str, action_repeat: int, seed: int) -> Environment:
        """The environment called ``env_id`` (suite included), or a :class:`LawmError`."""
        ...


_FACTORIES: dict[str, EnvironmentFactory] = {"dm_control": dm_control.make_env}


def register_env(suite: str, factory: EnvironmentFactory) -> None:
    """Make ``make_env("<suite>/<name>", ...)`` call ``factory``.

    The commands of lawm know the suite if ``--allow-import`` names the module that calls this. So
    do the processes that simulators run in: they inherit it, or import the module again.

    Args:
        suite: The part of the id before the slash; must be new.
        factory: Called with the whole id, the action repeat and the seed.
    """
    assert suite and "/" not in suite, suite
    assert suite not in _FACTORIES, f"suite {suite!r} is registered already"
    _FACTORIES[suite] = factory


def make_env(
    env_id: str, action_repeat: int = 1, seed: int = 0, renderer: RendererSpec | None = None
) -> Environment:
    """Make an environment.

    Args:
        env_id: ``"<suite>/<name>"``, e.g. ``"dm_control/cheetah-run"``.
        action_repeat: Control steps that one action is held for.
        seed: Of the environment's random stream.
        renderer: Adds its pictures to the observations, under the keys that it names.

    Raises:
        LawmError: No such suite, task or camera, an action repeat below one, pictures of another
            look than environments give, or code of the suite that fails.
    """
    if action_repeat < 1:
        raise LawmError(
            f"action_repeat is {action_repeat}, expected at least 1: "
            "the number of control steps that one action is held for."
        )
    suite, slash, name = env_id.partition("/")
    if slash and suite in _FACTORIES:
        try:
            env = _FACTORIES[suite](env_id, action_repeat, seed)
        except (LawmError, OSError):
            raise
        except Exception as error:  # a simulator's code raises anything
            raise LawmError(
                f"Environment {env_id!r} cannot be made: what is registered for {suite!r} raised "
                f"{type(error).__name__}: {error}. Expected a callable that takes the id, the "
                "action repeat and the seed; mend it, or name another environment."
            ) from error
        return env if renderer is None else PixelObservations(env, renderer)
    if not slash:
        problem = f"Environment {env_id!r} does not name its suite."
        guess = difflib.get_close_matches(f"dm_control/{env_id}", dm_control.env_ids(), n=1)
    else:
        problem = f"Environment {env_id!r} belongs to no known suite."
        guess = [f"{s}/{name}" for s in difflib.get_close_matches(suite, _FACTORIES, n=1)]
    hint = f" Did you mean {guess[0]!r}?" if guess else ""
    raise LawmError(
        f"{problem}{hint} Environments are written '<suite>/<name>', such as "
        f"'dm_control/cheetah-run'; the suites are: {', '.join(sorted(_FACTORIES))}. Another one "
        "is registered by a module of yours that `--allow-import MODULE` names on the command line."
    )


__all__ = ["EnvironmentFactory", "make_env", "register_env"]
