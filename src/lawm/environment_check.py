"""Can an environment give what a model of the data observes, and take what its policy does?

Found out before hours of training.
"""

from __future__ import annotations

import functools
import logging

import numpy as np

from lawm.envs import make_env
from lawm.envs.rendering import working_backend
from lawm.envs.simulator_fault import SimulatorFault
from lawm.envs.simulator_process import start_simulators
from lawm.errors import LawmError
from lawm.fit_config import EvaluationConfig
from lawm.spec import DataSpec

_BOUND_TOLERANCE = 1e-4  # of the range that an action has in the data: they may be kept in float32

_log = logging.getLogger(__name__)


def environment_of_run(spec: DataSpec, settings: EvaluationConfig) -> str | None:
    """Where the policy of a run will be measured; None if nowhere.

    A simulator at fault costs no run, and may work again later: it is a warning.

    Raises:
        LawmError: As for :func:`check_environment`.
    """
    env_id = settings.environment(spec.env_id)
    if env_id is None:
        _log.warning(
            "No return will be measured: the data names no environment and evaluation.env_id "
            "sets none."
        )
        return None
    try:
        check_environment(spec, env_id, settings.timeout)
    except SimulatorFault as fault:
        _log.warning(
            "Whether %s fits the data is not known, and evaluations in it may fail: %s.",
            env_id,
            fault,
        )
    return env_id


def check_environment(spec: DataSpec, env_id: str, timeout: float | None = 60.0) -> None:
    """Refuse an environment that does not fit a data set: one reset, without pictures.

    Nothing is rendered here: where simulators have a process of their own, it alone loads OpenGL.
    Action bounds of the data that are narrower than the environment's are a warning, as a range
    that was measured is.

    Args:
        spec: Of the data.
        env_id: For :func:`lawm.envs.make_env`.
        timeout: Seconds that the simulator may take, in a process of its own; None resets it here.

    Raises:
        LawmError: No such environment or camera, pictures whose renderer is unknown or another
            than here, no renderer on this machine, or observations or actions that are not those of
            the data.
        SimulatorFault: It cannot be set up or reset.
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
    simulators = start_simulators(functools.partial(make_env, env_id, spec.action_repeat), timeout)
    try:
        shapes = {key: value.shape for key, value in simulators.reset([0], None)[0].obs.items()}
        low, high = simulators.action_low, simulators.action_high
    finally:
        simulators.close()
    problems = _observation_problems(spec, shapes) + _action_problems(spec, low, high)
    if problems:
        raise LawmError(
            f"{env_id} does not fit the data. {' '.join(problems)} Name the environment that the "
            "data come from, or evaluate in nothing, with --evaluation.env_id none."
        )
    if _is_narrower(spec, low, high):
        _log.warning(
            "The actions of the data reach from %s to %s, those of %s from %s to %s: the policy "
            "will use that part of them alone. If the data's actions were rescaled, returns "
            "measured there mean nothing.",
            *(list(spec.action_low), list(spec.action_high)),
            *(env_id, low.tolist(), high.tolist()),
        )


def _observation_problems(spec: DataSpec, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Sentences.

    Args:
        spec: Of the data.
        shapes: By key, what the environment observes, but for pictures.
    """
    given = dict(shapes)
    if spec.renderer is not None:
        given |= dict.fromkeys(spec.renderer.cameras, spec.renderer.shape)
    problems = []
    for key, item in spec.observations.items():
        if key not in given:
            problems.append(
                f"It gives no observation `{key}`, of shape {item.shape} in the data, but "
                f"{', '.join(f'`{name}` of shape {shape}' for name, shape in given.items())}."
            )
        elif given[key] != item.shape:
            problems.append(
                f"Its observation `{key}` has shape {given[key]}, that of the data {item.shape}."
            )
    return problems


def _action_problems(spec: DataSpec, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Sentences; bounds of the environment, (A,)."""
    if low.shape != (spec.action_dim,):
        return [f"Its actions have the shape {low.shape}, those of the data {(spec.action_dim,)}."]
    data_low, data_high, tolerance = _bounds(spec)
    if (data_low >= low - tolerance).all() and (data_high <= high + tolerance).all():
        return []
    return [
        f"Its actions reach from {low.tolist()} to {high.tolist()}, those of the data beyond, from "
        f"{list(spec.action_low)} to {list(spec.action_high)}."
    ]


def _is_narrower(spec: DataSpec, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the data use a part of the actions alone; all of them without a bound is none."""
    data_low, data_high, tolerance = _bounds(spec)
    is_above = np.isfinite(low) & (data_low > low + tolerance)
    is_below = np.isfinite(high) & (data_high < high - tolerance)
    return bool((is_above | is_below).any())


def _bounds(spec: DataSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the data's actions: lowest, highest, and how much both may differ; each (A,)."""
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    return low, high, _BOUND_TOLERANCE * (high - low)


__all__ = ["check_environment", "environment_of_run"]
