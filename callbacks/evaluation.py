"""Measures the policy in its environment while it is trained."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lawm.callbacks.evaluation_point import EvaluationPoint, PredictsReturn, write_csv
from lawm.callbacks.policy_look import PolicyLookCallback
from lawm.envs.simulator_fault import SimulatorFault
from lawm.errors import LawmError
from lawm.evaluation import Evaluator
from lawm.evaluation_result import EvaluationResult
from lawm.random_state import random_state_kept
from lawm.renderer_spec import RendererSpec

IMAGINED_VALUE = "evaluation/imagined_value"
DISCOUNTED_RETURN = "evaluation/discounted_return"

_log = logging.getLogger(__name__)


class EvaluationCallback(PolicyLookCallback):
    """Runs the module's agent for whole episodes every so often and when training ends.

    The module must have a method ``agent() -> lawm.evaluation.Agent`` that shares its weights.
    Training goes on as if nothing had happened: random numbers and train/eval modes are put back.
    The simulators live in a worker process. One that raises, crashes or hangs costs a warning, the
    reason in the CSV and in TensorBoard's text, and a fresh worker for the next evaluation, not the
    run; only an environment that does not exist stops the run before its first step. Under DDP rank
    0 evaluates, the others wait.

    Logs ``evaluation/return_mean``, ``_std``, ``_min``, ``_max`` and ``_normalised`` (0 is the
    mean episode of the data, 1 its best). Of a module that :class:`PredictsReturn` also
    ``evaluation/discounted_return``, the true one, beside ``evaluation/imagined_value``, what the
    critic promised at the first observations; both are means over the episodes. A value far above
    the return means that the policy exploits the world model.

    Attributes:
        results: All evaluations so far, those before a resume included, oldest first.
        best: The evaluation with the highest mean return.
        final: The one at the end of training.
    """

    results: list[EvaluationPoint]
    best: EvaluationPoint | None
    final: EvaluationPoint | None

    def __init__(
        self,
        env_id: str,
        action_repeat: int,
        every_n_steps: int = 500,
        episodes: int = 10,
        final_episodes: int = 50,
        seed: int = 0,
        max_parallel: int = 10,
        timeout: float = 60.0,
        renderer: RendererSpec | None = None,
        data_return_mean: float = math.nan,
        data_return_best: float = math.nan,
        csv_path: str | Path | None = None,
        best_checkpoint_path: str | Path | None = None,
    ) -> None:
        """Prepare; nothing is simulated before training starts.

        Args:
            env_id: For :func:`lawm.envs.make_env`.
            action_repeat: Control steps that one action is held for.
            every_n_steps: Global steps between evaluations.
            episodes: Episodes of each of these.
            final_episodes: Episodes of the evaluation when training ends.
            seed: Episode i starts from ``seed + i`` in every evaluation, so they are paired.
            max_parallel: Episodes that run side by side.
            timeout: Seconds after which simulators that do not answer are killed.
            renderer: Of the pictures that the agent sees; None for one that sees none.
            data_return_mean: Mean return of the training data's episodes; NaN if unknown.
            data_return_best: Their best return; NaN if unknown.
            csv_path: One row an evaluation; the file always holds :attr:`results`, no more.
            best_checkpoint_path: Weights of the evaluation with the highest mean return so far.
        """
        super().__init__(every_n_steps)
        self._env_id = env_id
        self._action_repeat = action_repeat
        self._episodes = episodes
        self._final_episodes = final_episodes
        self._seed = seed
        self._max_parallel = max_parallel
        self._timeout = timeout
        self._renderer = renderer
        self._data_returns = (data_return_mean, data_return_best)
        self._csv_path = Path(csv_path) if csv_path else None
        self._best_checkpoint_path = best_checkpoint_path
        self._evaluator: Evaluator | None = None
        self.results = []
        self.best = None
        self.final = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set up the simulator; one that fails at this is tried again at each evaluation.

        Raises:
            LawmError: There is no such environment.
        """
        if trainer.is_global_zero:
            with contextlib.suppress(SimulatorFault):
                self._evaluator = self._make_evaluator()

    def _make_evaluator(self) -> Evaluator:
        return Evaluator(
            self._env_id, self._action_repeat, self._max_parallel, self._timeout, self._renderer
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the end of a shorter training, which may have been restored."""
        super().on_train_start(trainer, pl_module)
        self.final = None
        if trainer.is_global_zero and isinstance(pl_module, PredictsReturn):
            _lay_out_chart(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Free the simulators."""
        if self._evaluator:
            self._evaluator.close()
            self._evaluator = None

    def state_dict(self) -> dict[str, Any]:
        """The evaluations so far, in plain types."""
        return {"results": [point.to_dict() for point in self.results]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the evaluations of the checkpoint."""
        self.results = [EvaluationPoint.from_dict(values) for values in state_dict["results"]]
        done = [point for point in self.results if math.isfinite(point.mean)]
        self.best = max(done, key=lambda point: point.mean, default=None)
        self.final = self.results[-1] if self.results and self.results[-1].final else None

    def look(self, trainer: pl.Trainer, pl_module: pl.LightningModule, final: bool) -> None:
        """Evaluate the policy on rank 0, and save it if it is the best so far."""
        is_best = False
        if trainer.is_global_zero:
            point = self._measure(trainer.global_step, pl_module, final)
            is_best = self._add(point)
            self._log_metrics(trainer, point)
            if self._csv_path:
                write_csv(self._csv_path, self.results, self._data_returns)
        # The other ranks wait here. Saving is a collective call: all must know of it.
        is_best = trainer.strategy.broadcast(is_best)
        if is_best and self._best_checkpoint_path:
            trainer.save_checkpoint(self._best_checkpoint_path, weights_only=True)

    def _measure(self, step: int, pl_module: pl.LightningModule, final: bool) -> EvaluationPoint:
        began = time.perf_counter()
        result, error, values = None, "", {}
        try:
            with _left_untouched(pl_module), torch.no_grad():
                torch.manual_seed(self._seed)
                pl_module.eval()
                agent = pl_module.agent()  # type: ignore[operator]  # see the class docstring
                episodes = self._final_episodes if final else self._episodes
                self._evaluator = self._evaluator or self._make_evaluator()
                result = self._evaluator.run(agent, episodes, self._seed)
                values = _values(pl_module, result)
        except Exception as exception:  # simulators raise anything
            is_told = isinstance(exception, (SimulatorFault, LawmError))
            error = str(exception) if is_told else f"{type(exception).__name__}: {exception}"
            _log.warning(
                "The evaluation in %s at step %d failed and training goes on without it: %s",
                self._env_id,
                step,
                error,
                exc_info=None if is_told else exception,
            )
        seconds = time.perf_counter() - began
        return EvaluationPoint(step, final, result, seconds, error, **values)

    def _add(self, point: EvaluationPoint) -> bool:
        """Whether it is the best so far."""
        self.results.append(point)
        if point.final:
            self.final = point
        if not math.isfinite(point.mean) or (self.best and point.mean <= self.best.mean):
            return False
        self.best = point
        return True

    def _log_metrics(self, trainer: pl.Trainer, point: EvaluationPoint) -> None:
        if point.result is None:
            _log_text(trainer, "evaluation/failed", point.error, point.step)
            return
        metrics = {
            "evaluation/return_mean": point.result.mean,
            "evaluation/return_std": point.result.std,
            "evaluation/return_min": point.result.min,
            "evaluation/return_max": point.result.max,
            "evaluation/return_normalised": point.result.normalised(*self._data_returns),
        }
        if point.imagined_value is not None and point.discounted_return is not None:
            metrics[IMAGINED_VALUE] = point.imagined_value
            metrics[DISCOUNTED_RETURN] = point.discounted_return
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        for logger in trainer.loggers:
            logger.log_metrics(known, point.step)


def _lay_out_chart(trainer: pl.Trainer) -> None:
    """Draw the value and the return as two lines of one chart, under TensorBoard's custom tab."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars_multilinechart(
                [IMAGINED_VALUE, DISCOUNTED_RETURN],
                category="evaluation",
                title="imagined value beside true discounted return",
            )


def _log_text(trainer: pl.Trainer, tag: str, text: str, step: int) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, step)


def _values(module: pl.LightningModule, result: EvaluationResult) -> dict[str, float]:
    """What the critic promised at the start and what came of it, means over the episodes."""
    if not isinstance(module, PredictsReturn):
        return {}
    return {
        "imagined_value": float(module.start_value(result.first_obs).mean()),
        "discounted_return": float(result.discounted_returns(module.gamma).mean()),
    }


@contextmanager
def _left_untouched(module: pl.LightningModule) -> Iterator[None]:
    """Put back the global random number generators and each submodule's mode."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with random_state_kept(module.device):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            for submodule, training in modes.items():
                submodule.training = training


__all__ = ["EvaluationCallback"]
