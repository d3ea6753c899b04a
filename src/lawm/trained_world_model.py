"""A trained world model for people: numpy in and out, in the environment's units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lawm import saved_run
from lawm.agent import actions_in_units
from lawm.chosen_actions import Chosen, imagine_chosen, latent_of_action
from lawm.errors import LawmError
from lawm.imagined_steps import ImaginedSteps, PredictedObservations, predicted_observations
from lawm.latent_state import LatentState
from lawm.latents import CategoricalLatent, GaussianLatent
from lawm.random_state import own_random_numbers
from lawm.rssm import ModelState
from lawm.run_folder import open_run_folder
from lawm.trajectory_arrays import (
    action_tensor,
    aligned,
    as_numpy,
    by_trajectory,
    latent_action_tensor,
    state_rows,
    states_by_trajectory,
    trajectory_batch,
)
from lawm.world_model import Observed, WorldModel

Array = NDArray[np.float32]


class TrainedWorldModel:
    """Encodes trajectories, infers and decodes latent actions, imagines.

    Letters of shapes are those of :mod:`lawm.batch`, and T steps have T + 1 observations. Arrays
    of n trajectories of one length have n in front; of a single one leave it out. The functions of
    a state take any leading dimensions. Distributions are taken at their modes, unless a ``seed``
    is given for samples; torch's own random numbers are never touched.

    Args:
        model: The networks.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model.eval()
        self.spec = model.spec
        self._like = next(model.parameters())

    @torch.inference_mode()
    def encode(
        self,
        obs: Mapping[str, ArrayLike],
        action: ArrayLike | None = None,
        *,
        seed: int | None = None,
    ) -> LatentState:
        """Filtered states at each of the T + 1 observations, ``([n,] T + 1)``.

        Args:
            obs: The data's observation keys, each ``([n,] T + 1, *shape)``; images are uint8.
            action: ``([n,] T, A)`` in the environment's units. Where there is none, the filter
                infers it from the observations, or, with ``transition_input: masked_action``,
                takes it as unknown.
            seed: Of samples of z and, with ``transition_input: latent``, of u.

        Raises:
            LawmError: What is given does not fit the data that the model was trained on.
        """
        observed, leading = self._observe(obs, action, seed)
        return states_by_trajectory(ModelState(observed.h, observed.z), leading)

    @torch.inference_mode()
    def infer_latent_actions(
        self, obs: Mapping[str, ArrayLike], *, seed: int | None = None
    ) -> Array:
        """Latent actions of an action-free trajectory, from q_free: ``([n,] T, U)``.

        Args:
            obs: As for :meth:`encode`, T + 1 at least 2.
            seed: Of samples, in the states that :meth:`encode` gives for the same seed.

        Raises:
            LawmError: The observations do not fit, or there is only one.
        """
        u, _, leading = self._inferred(obs, seed)
        return by_trajectory(u, leading)

    @torch.inference_mode()
    def infer_actions(self, obs: Mapping[str, ArrayLike]) -> Array:
        """Actions decoded from :meth:`infer_latent_actions`, in the environment's units.

        Returns:
            ``([n,] T, A)``.

        Raises:
            LawmError: The observations do not fit, or there is only one.
        """
        u, before, leading = self._inferred(obs, None)
        return self._actions(self.model.latent_action.decode(before, u), leading)

    @torch.inference_mode()
    def latent_of_action(self, state: LatentState, action: ArrayLike) -> Array:
        """The mode of ``q_act(u | s, a)``: actions ``(..., A)`` in units to ``(..., U)``.

        Raises:
            LawmError: State or action do not fit the model or each other.
        """
        taken = action_tensor(self.spec, action, self._like)
        start, taken, leading = aligned(self.model, state, taken, "action")
        u = latent_of_action(self.model, start, taken)
        return as_numpy(u).reshape(*leading, u.shape[-1])

    @torch.inference_mode()
    def decode_action(self, state: LatentState, latent_action: ArrayLike) -> Array:
        """The mean of ``p(a | s, u)``: ``(..., U)`` to ``(..., A)`` in the environment's units.

        Raises:
            LawmError: State or latent action do not fit the model or each other.
        """
        u = latent_action_tensor(self.model.latent_action.latent, latent_action, self._like)
        start, u, leading = aligned(self.model, state, u, "latent_action")
        action = self.model.latent_action.decode(start.features, u)
        return actions_in_units(self.spec, action).reshape(*leading, self.spec.action_dim)

    @torch.inference_mode()
    def prior(self, state: LatentState) -> tuple[Array, Array]:
        """Mean and standard deviation of a Gaussian ``p(u | s)``, each ``(..., U)``.

        Raises:
            LawmError: u is categorical, or the state does not fit the model.
        """
        latent = self.model.latent_action.latent
        if not isinstance(latent, GaussianLatent):
            raise LawmError(
                "prior gives mean and standard deviation of a Gaussian latent action, and that of "
                "this model is categorical. Use prior_probabilities."
            )
        features, leading = state_rows(self.model, state, self._like)
        mean, std = latent.mean_std(self.model.latent_action.prior(features))
        shape = (*leading, latent.size)
        return as_numpy(mean).reshape(shape), as_numpy(std).reshape(shape)

    @torch.inference_mode()
    def prior_probabilities(self, state: LatentState) -> Array:
        """Probabilities of a categorical ``p(u | s)``, ``(..., groups, classes)``.

        Raises:
            LawmError: u is Gaussian, or the state does not fit the model.
        """
        latent = self.model.latent_action.latent
        if not isinstance(latent, CategoricalLatent):
            raise LawmError(
                "prior_probabilities are of a categorical latent action, and that of this model "
                "is Gaussian. Use prior."
            )
        features, leading = state_rows(self.model, state, self._like)
        probabilities = latent.log_probs(self.model.latent_action.prior(features)).exp()
        return as_numpy(probabilities).reshape(*leading, latent.groups, latent.classes)

    @torch.inference_mode()
    def decode_observations(self, state: LatentState) -> PredictedObservations:
        """Means of ``p(o | s)``, each ``(..., *shape)``: states in their units, uint8 images.

        Raises:
            LawmError: The state does not fit; or, of the result, a key is read that the model does
                not predict.
        """
        return predicted_observations(self.model, *state_rows(self.model, state, self._like))

    @torch.inference_mode()
    def imagine(
        self,
        start: LatentState,
        *,
        latent_action: ArrayLike | None = None,
        action: ArrayLike | None = None,
        seed: int | None = None,
    ) -> ImaginedSteps:
        """H steps of the model's prior under chosen actions.

        One start with n sequences of actions, or n starts with one sequence, make n trajectories.

        Args:
            start: One state or n, such as ``states[-1]``.
            latent_action: ``([n,] H, U)``; or
            action: ``([n,] H, A)`` in the environment's units. Exactly one of the two.
            seed: Of samples of z; without, z is at the prior's mode.

        Raises:
            LawmError: Not exactly one of the two is given, or it does not fit.
        """
        chosen, values = self._chosen(latent_action, action)
        horizon, size = values.shape[-2:]
        state, values, leading = aligned(self.model, start, values.flatten(-2), chosen)
        values = values.view(-1, horizon, size).transpose(0, 1)
        sample = seed is not None
        with own_random_numbers(seed, self._like.device):
            rollout = imagine_chosen(self.model, state, values, chosen, sample=sample)
        leading = (*leading, horizon)
        features = rollout.states.features.transpose(0, 1).flatten(0, 1)
        reward, logit = self.model.reward(features), self.model.continue_logit(features)
        continuation = torch.ones_like(reward) if logit is None else torch.sigmoid(logit)
        return ImaginedSteps(
            latent_action=by_trajectory(rollout.latent_action, leading),
            action=self._actions(rollout.action, leading),
            states=states_by_trajectory(rollout.states, leading),
            observations=predicted_observations(self.model, features, leading),
            reward=as_numpy(reward).reshape(leading),
            continuation=as_numpy(continuation).reshape(leading),
        )

    def _chosen(
        self, latent_action: ArrayLike | None, action: ArrayLike | None
    ) -> tuple[Chosen, Tensor]:
        """Which of the two was chosen, and its values ``([n,] H, ·)``."""
        chosen: Chosen
        if latent_action is not None and action is None:
            latent = self.model.latent_action.latent
            chosen = "latent_action"
            values = latent_action_tensor(latent, latent_action, self._like)
        elif action is not None and latent_action is None:
            chosen, values = "action", action_tensor(self.spec, action, self._like)
        else:
            given = "neither latent_action nor action" if action is None else "both"
            raise LawmError(
                f"imagine was given {given}; expected exactly one of latent_action and action, as "
                "each follows from the other."
            )
        if values.ndim < 2 or values.shape[-2] == 0:
            raise LawmError(
                f"{chosen} has shape {tuple(values.shape)}; expected (H, {values.shape[-1]}) or "
                f"(n, H, {values.shape[-1]}), with H at least 1. Give a single step as value[None]."
            )
        return chosen, values

    def _observe(
        self, obs: Mapping[str, ArrayLike], action: ArrayLike | None, seed: int | None
    ) -> tuple[Observed, tuple[int, ...]]:
        """The filter's view, of at least two observations, and the shape ``([n,] T + 1)``."""
        batch, leading = trajectory_batch(self.spec, obs, action, self._like)
        with own_random_numbers(seed, self._like.device):
            return self.model.observe(batch, sample=seed is not None), leading

    def _inferred(
        self, obs: Mapping[str, ArrayLike], seed: int | None
    ) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Of q_free ``(T, N, U)``, the features of the states before, and shape ``([n,] T)``."""
        batch, leading = trajectory_batch(self.spec, obs, None, self._like)
        if leading[-1] < 2:
            raise LawmError(
                f"The observations have the shape {leading}, one observation of each trajectory; "
                "expected at least two, as a latent action is inferred from what follows it."
            )
        latent = self.model.latent_action.latent
        with own_random_numbers(seed, self._like.device):
            observed = self.model.observe(batch, sample=seed is not None)
            params = observed.inverse_posterior
            if seed is None:
                u = latent.mode(params)
            else:
                u = latent.sample(params, latent.noise(params, *params.shape[:-1]))
        return u, observed.features[:-1], (*leading[:-1], leading[-1] - 1)

    def _actions(self, action: Tensor, leading: tuple[int, ...]) -> Array:
        """From time first, ``(T, N, A)`` in [-1, 1], to ``([n,] T, A)`` in units."""
        in_units = actions_in_units(self.spec, action.transpose(0, 1))
        return in_units.reshape(*leading, self.spec.action_dim)


def load_world_model(run: str | Path) -> TrainedWorldModel:
    """The world model of a run, on the CPU.

        world_model = lawm.load_world_model("runs/cheetah/2026-01-31_12-00-00")
        states = world_model.encode(obs)

    Args:
        run: Folder that ``lawm fit`` made, also with ``--stage world_model``.

    Raises:
        LawmError: There is no such run, no world model in it, or its checkpoint is damaged.
    """
    stage = open_run_folder(Path(run)).stage("world_model")
    if not stage.has_checkpoint():
        raise LawmError(
            f"The run {run} holds no world model: there is no {stage.last_checkpoint}. Expected a "
            "run of method latent_action whose stage 1 has saved a checkpoint; behaviour cloning "
            "has no world model. Give another run, or go on with `lawm fit --resume`."
        )
    return TrainedWorldModel(saved_run.load_world_model(stage))


__all__ = ["TrainedWorldModel", "load_world_model"]
