"""How the policy of a run is measured in its environment, along the run and at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from lawm.action_prediction_module import ActionPredictionModule
from lawm.callbacks.evaluation import EvaluationCallback
from lawm.callbacks.offline_selection import OfflineSelectionCallback
from lawm.envs.simulator_fault import SimulatorFault
from lawm.evaluation import evaluate
from lawm.fit_config import EvaluationConfig
from lawm.policy_module import LatentPolicyModule
from lawm.report import evaluation_numbers, failed_evaluation
from lawm.rssm import ModelState
from lawm.run_folder import RunFolder
from lawm.spec import DataSpec


class PolicyEvaluation:
    """The evaluations of a run.

    Args:
        env_id: Where; None measures nothing.
        settings: When and how.
        spec: Of the data, for the action repeat and what returns are compared with.
        folder: Of the run.
        starts: Gives states of the data from which a policy is tried in imagination; None where
            there is no world model to imagine in.
    """

    def __init__(
        self,
        env_id: str | None,
        settings: EvaluationConfig,
        spec: DataSpec,
        folder: RunFolder,
        starts: Callable[[int], ModelState] | None = None,
    ) -> None:
        self._env_id, self._settings, self._spec = env_id, settings, spec
        self._callback = None if env_id is None else self._make_callback(env_id, folder)
        self._selection = None
        if starts is not None:
            path = folder.stage("policy").selected_checkpoint
            self._selection = OfflineSelectionCallback(starts, settings.every_n_steps, path)

    @property
    def callbacks(self) -> list[pl.Callback]:
        """What measures while the stage is trained."""
        return [callback for callback in (self._callback, self._selection) if callback is not None]

    def latest_return(self, trainer: pl.Trainer) -> float | None:
        """The newest return, for the progress line."""
        del trainer
        points = [] if self._callback is None else self._callback.results
        return points[-1].mean if points else None

    def numbers(self, module: LatentPolicyModule | ActionPredictionModule) -> dict[str, Any]:
        """The final, the selected and the best evaluation; of one that failed, the reason.

        ``selection`` is the point at which a policy was selected without the environment.
        """
        numbers: dict[str, Any] = {}
        chosen_step = None
        if self._selection is not None and self._selection.selected is not None:
            chosen_step, reward = self._selection.selected
            numbers["selection"] = {"step": chosen_step, "imagined_reward": reward}
        if self._callback is None or self._env_id is None:
            return numbers
        by_step = {point.step: point for point in self._callback.results}
        points = {
            "final": self._callback.final,
            "selected": None if chosen_step is None else by_step.get(chosen_step),
            "best": self._callback.best,
        }
        for name, point in points.items():
            if point is not None and point.result is not None:
                numbers[name] = evaluation_numbers(self._spec, point.result, point.step)
            elif point is not None:
                numbers[name] = failed_evaluation(point.error, point.step)
        if self._callback.final is None:  # stopped between the last step and its evaluation
            numbers["final"] = self._measure(module, self._env_id)
        if failures := sum(point.result is None for point in self._callback.results):
            numbers["failures"] = failures
        return numbers

    def _make_callback(self, env_id: str, folder: RunFolder) -> EvaluationCallback:
        settings = self._settings
        return EvaluationCallback(
            env_id,
            self._spec.action_repeat,
            every_n_steps=settings.every_n_steps,
            episodes=settings.episodes,
            final_episodes=settings.final_episodes,
            seed=settings.seed,
            timeout=settings.timeout,
            renderer=self._spec.renderer,
            data_return_mean=self._spec.return_mean,
            data_return_best=self._spec.return_best,
            csv_path=folder.evaluation_file,
            best_checkpoint_path=folder.stage("policy").best_checkpoint,
        )

    def _measure(
        self, module: LatentPolicyModule | ActionPredictionModule, env_id: str
    ) -> dict[str, Any]:
        settings = self._settings
        module.eval()  # a cloned policy has dropout
        try:
            result = evaluate(
                module.agent(),
                env_id,
                self._spec.action_repeat,
                episodes=settings.final_episodes,
                seed=settings.seed,
                timeout=settings.timeout,
                renderer=self._spec.renderer,
            )
        except SimulatorFault as fault:
            return failed_evaluation(str(fault))
        return evaluation_numbers(self._spec, result)


__all__ = ["PolicyEvaluation"]
