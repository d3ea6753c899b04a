"""Numpy arrays that a user gives, checked, as tensors of the world model; and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lawm.batch import Batch
from lawm.data_modules.episode_store import ActionScale
from lawm.errors import LawmError
from lawm.given_observations import require_keys, require_numbers
from lawm.latent_state import LatentState
from lawm.latents import CategoricalLatent, Latent
from lawm.rssm import ModelState
from lawm.spec import DataSpec, ObservationSpec
from lawm.world_model import WorldModel

ROUNDING = 1e-3  # of an action's range: beyond its bounds by less, it was rounded


def trajectory_batch(
    spec: DataSpec, obs: Mapping[str, ArrayLike], action: ArrayLike | None, like: Tensor
) -> tuple[Batch, tuple[int, ...]]:
    """Whole trajectories as windows, all labelled or all action-free; no rewards.

    Args:
        spec: The observation keys; what else ``obs`` holds is not read.
        obs: Each key ``([n,] T + 1, *shape)``, the same for all keys.
        action: ``([n,] T, A)`` in the environment's units, or None.
        like: A parameter of the model.

    Returns:
        The batch on the device of ``like``, and ``([n,] T + 1)``. A lone observation is repeated,
        as there must be a transition: the state at the first does not see the second.

    Raises:
        LawmError: A key or the action is missing, not finite, or of another shape or type than in
            the data.
    """
    tensors, leading = _observation_tensors(spec, obs, like)
    num, steps = (1, *leading)[-2], leading[-1] - 1
    taken = like.new_zeros(0, steps, spec.action_dim)
    if action is not None:
        given = action_tensor(spec, action, like)
        expected = (*leading[:-1], steps, spec.action_dim)
        if given.shape != expected:
            raise LawmError(
                f"action has shape {tuple(given.shape)}; expected {expected} for observations of "
                f"{leading}: one action for each step from an observation to the next."
            )
        taken = given.view(num, steps, spec.action_dim)
    windows = {key: x.flatten(0, len(leading) - 1) for key, x in tensors.items()}
    windows = {key: x.view(num, steps + 1, *x.shape[1:]) for key, x in windows.items()}
    if steps == 0:
        steps, taken = 1, taken.new_zeros(0, 1, spec.action_dim)
        windows = {key: torch.cat([x, x], dim=1) for key, x in windows.items()}
    nothing = like.new_zeros(num, steps)
    has_reward = torch.zeros(num, dtype=torch.bool, device=like.device)
    return Batch(windows, taken, nothing, nothing, has_reward), leading


def action_tensor(spec: DataSpec, action: ArrayLike, like: Tensor) -> Tensor:
    """Actions ``(..., A)`` in the environment's units, as the model takes them: within [-1, 1].

    Raises:
        LawmError: They are of another size, not finite, or outside the bounds of the data.
    """
    value = _array("action", action)
    _check_size("action", value, spec.action_dim, "actions of the environment")
    values = _finite("action", value, np.float64)
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)
    beyond = np.maximum(low - values.numpy(), values.numpy() - high) / (high - low)
    if beyond.size and beyond.max() > ROUNDING:
        *_, dimension = worst = np.unravel_index(int(beyond.argmax()), beyond.shape)
        raise LawmError(
            f"action has {values.numpy()[worst]:g} in dimension {dimension}, whose bounds in the "
            f"data are {low[dimension]:g} and {high[dimension]:g}. Expected the environment's "
            "units; clip what the environment would clip."
        )
    return ActionScale(low, high)(values).to(like.device)


def latent_action_tensor(latent: Latent, latent_action: ArrayLike, like: Tensor) -> Tensor:
    """Latent actions ``(..., U)``.

    Raises:
        LawmError: They are of another size, not finite, or not one-hot where u is categorical.
    """
    value = _array("latent_action", latent_action)
    _check_size("latent_action", value, latent.size, "latent actions of this model")
    u = _finite("latent_action", value)
    if isinstance(latent, CategoricalLatent):
        groups = u.view(*u.shape[:-1], latent.groups, latent.classes)
        one_hot = torch.nn.functional.one_hot(groups.argmax(dim=-1), latent.classes)
        if not torch.allclose(groups, one_hot.to(groups), atol=1e-3):
            raise LawmError(
                f"latent_action is not one-hot, and u of this model is categorical: "
                f"{latent.groups} groups of {latent.classes} classes, side by side. Put a 1 at "
                "the class of each group and zeros elsewhere."
            )
    return u.to(like.device, like.dtype)


def state_tensors(model: WorldModel, state: LatentState, like: Tensor) -> ModelState:
    """The same states as tensors.

    Raises:
        LawmError: They are no states, none, those of another model, or not finite.
    """
    if not isinstance(state, LatentState):
        raise LawmError(
            f"The state is a {type(state).__name__}; expected a LatentState, as encode and "
            "imagine return it. Encode the observations first."
        )
    h, z = np.asarray(state.h), np.asarray(state.z)
    sizes = model.rssm.deter, model.rssm.latent.size
    if (h.shape[-1:], z.shape[-1:]) != ((sizes[0],), (sizes[1],)) or h.shape[:-1] != z.shape[:-1]:
        raise LawmError(
            f"The state has h of shape {h.shape} and z of shape {z.shape}; expected "
            f"(..., {sizes[0]}) and (..., {sizes[1]}). Take states that this same model encoded."
        )
    if h.size == 0:
        raise LawmError(
            f"There is no state in the shape {h.shape[:-1]}; expected at least one. Take a part "
            "of the states that is not empty."
        )
    return ModelState(
        _finite("h of the state", h).to(like.device, like.dtype),
        _finite("z of the state", z).to(like.device, like.dtype),
    )


def state_rows(
    model: WorldModel, state: LatentState, like: Tensor
) -> tuple[Tensor, tuple[int, ...]]:
    """Features ``(N, D + Z)`` of :func:`state_tensors`, and the shape of the states."""
    features = state_tensors(model, state, like).features
    return features.reshape(-1, features.shape[-1]), state.shape


def aligned(
    model: WorldModel, state: LatentState, values: Tensor, name: str
) -> tuple[ModelState, Tensor, tuple[int, ...]]:
    """States and values of the same leading shape, after one of them was repeated if need be.

    Args:
        model: The world model.
        state: Its states, ``(...)``.
        values: One for each state, ``(..., X)``.
        name: Of the values, for messages.

    Returns:
        N states, N values, and the leading shape whose product N is.

    Raises:
        LawmError: The state does not fit the model, or their leading shapes do not fit.
    """
    s = state_tensors(model, state, values)
    given = tuple(values.shape[:-1])
    try:
        leading = np.broadcast_shapes(state.shape, given)
    except ValueError as error:
        raise LawmError(
            f"There are states of shape {state.shape} and {name} of {given}; expected the same, "
            "or a single one for all. A trajectory of T steps has T + 1 states: "
            "states[..., :-1] leaves out the last."
        ) from error
    if 0 in leading:
        raise LawmError(
            f"There is no {name} in the shape {given}; expected one for each state of shape "
            f"{state.shape}. Give at least one."
        )
    h, z, rows = (x.expand(*leading, -1).reshape(-1, x.shape[-1]) for x in (s.h, s.z, values))
    return ModelState(h, z), rows, leading


def as_numpy(values: Tensor) -> NDArray[np.float32]:
    """Float32 on the CPU."""
    out: NDArray[np.float32] = values.float().cpu().numpy()
    return out


def by_trajectory(values: Tensor, leading: tuple[int, ...]) -> NDArray[np.float32]:
    """From time first, ``(T, N, X)``, to ``([n,] T, X)``; steps behind T are left out."""
    rows = values.transpose(0, 1)[:, : leading[-1]]
    return as_numpy(rows).reshape(*leading, values.shape[-1])


def states_by_trajectory(states: ModelState, leading: tuple[int, ...]) -> LatentState:
    """From time first, ``(T, N)``, to ``([n,] T)``."""
    return LatentState(by_trajectory(states.h, leading), by_trajectory(states.z, leading))


def _observation_tensors(
    spec: DataSpec, obs: Mapping[str, ArrayLike], like: Tensor
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Each key as it was given, states in float32; and the shape before that of an observation."""
    tensors: dict[str, Tensor] = {}
    leading: dict[str, tuple[int, ...]] = {}
    require_keys(spec, obs)
    for key, item in spec.observations.items():
        value = _array(f"Observation '{key}'", obs[key])
        require_numbers(key, item, value)
        leading[key] = _leading_shape(key, value, item)
        if item.kind == "state":
            tensors[key] = _finite(f"Observation '{key}'", value).to(like.device, like.dtype)
            continue
        tensors[key] = torch.from_numpy(np.array(value)).to(like.device)
    if len(set(leading.values())) > 1:
        told = ", ".join(f"'{key}' {shape}" for key, shape in leading.items())
        raise LawmError(
            f"The observation keys are of different trajectories: before the shape of one "
            f"observation they have {told}. Expected the same (T + 1,) or (n, T + 1) for each."
        )
    return tensors, next(iter(leading.values()))


def _leading_shape(key: str, value: NDArray[np.generic], item: ObservationSpec) -> tuple[int, ...]:
    """What stands before the shape of one observation: (T + 1,) or (n, T + 1)."""
    num_leading = value.ndim - len(item.shape)
    leading = value.shape[: max(num_leading, 0)]
    fits = num_leading in (1, 2) and value.shape[num_leading:] == item.shape and 0 not in leading
    if not fits:
        one = ", ".join(map(str, item.shape))
        raise LawmError(
            f"Observation '{key}' has shape {value.shape}; expected (T + 1, {one}) for a "
            f"trajectory or (n, T + 1, {one}) for n of one length. A single observation is a "
            "trajectory of one: give it as value[None]."
        )
    return leading


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise LawmError(
            f"{name} is no array ({error}); expected numbers of one shape. Give trajectories of "
            "different lengths one by one."
        ) from error


def _check_size(name: str, value: NDArray[np.generic], size: int, whose: str) -> None:
    if value.ndim == 0 or value.shape[-1] != size:
        raise LawmError(
            f"{name} has shape {value.shape}; expected (..., {size}), as {whose} have {size} "
            "numbers. Give the numbers of a step as the last dimension."
        )


def _finite(name: str, value: NDArray[np.generic], dtype: type = np.float32) -> Tensor:
    """A copy of real numbers as a tensor."""
    if value.dtype.kind not in "fiub":
        raise LawmError(
            f"{name} is of type {value.dtype}; expected real numbers. Convert them to float32."
        )
    with np.errstate(over="ignore"):  # what overflows is told below
        numbers: NDArray[np.floating[Any]] = np.array(value, dtype=dtype, order="C")
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        at = tuple(bad[0].tolist())
        raise LawmError(
            f"{name} has {value[at]} at index {at}; expected finite numbers within the range of "
            "float32. Leave out the steps that are not known."
        )
    return torch.from_numpy(numbers)


__all__ = [
    "action_tensor",
    "aligned",
    "as_numpy",
    "by_trajectory",
    "latent_action_tensor",
    "state_rows",
    "state_tensors",
    "states_by_trajectory",
    "trajectory_batch",
]
