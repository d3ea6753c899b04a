"""The two-stage trainer: world model, start states, policy and report, in one run folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from rich.console import Console

from lawm.callbacks.evaluation import EvaluationCallback
from lawm.callbacks.latent_action_panel import LatentActionPanelCallback
from lawm.callbacks.progress import logged
from lawm.callbacks.throughput import num_transitions
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.envs import make_env
from lawm.envs.simulator_process import SimulatorFault
from lawm.errors import LawmError
from lawm.evaluation import evaluate
from lawm.fit_config import FitConfig
from lawm.policy_module import LatentPolicyModule
from lawm.ranks import is_rank_zero
from lawm.report import build_report, evaluation_numbers, failed_evaluation
from lawm.rssm import ModelState
from lawm.run_folder import RunFolder, StageFolder, StageRecord
from lawm.spec import DataSpec
from lawm.stage_faults import told_in_sentences
from lawm.stage_identity import policy_inputs, world_model_inputs
from lawm.stage_runner import StageRunner
from lawm.start_states import StartStateDataModule
from lawm.stop_signals import StopSignals
from lawm.world_model_module import WorldModelModule

_log = logging.getLogger(__name__)

StageChoice = Literal["all", "world_model", "policy"]


class TwoStageTrainer:
    """Runs what is left to do of the two stages.

    A stage that is finished in the run folder is taken as it is, one that was stopped goes on from
    its last checkpoint; both only if they were trained with the same inputs.

    Args:
        config: What to do.
        path: The run folder.
        stage: Both stages or one of them.
        world_model_from: Run folder or checkpoint whose stage 1 is taken instead of training it.
        stop: Tells whether the run was asked to stop; default nobody asks.
        console: Where progress is shown; default the standard error stream.
    """

    def __init__(
        self,
        config: FitConfig,
        path: Path,
        stage: StageChoice = "all",
        world_model_from: Path | None = None,
        stop: StopSignals | None = None,
        console: Console | None = None,
    ) -> None:
        self._config = config
        self._folder = RunFolder(path)
        self._stage = stage
        self._world_model_from = world_model_from
        self._stop = stop or StopSignals()
        self._console = console
        self._data = MixedTrajectoryDataModule(**config.data, seed=config.seed)
        self._spec: DataSpec
        self._env_id: str | None = None
        self._stage_1: StageRunner
        self._stage_2: StageRunner
        self._reused: StageFolder | None = None

    def prepare(self) -> None:
        """Read the data and check everything that can be checked; writes nothing.

        Raises:
            LawmError: Something is wrong with the data, the settings, or the checkpoints that are
                to be continued or reused.
        """
        config, folder, stop = self._config, self._folder, self._stop
        self._data.setup("fit")
        self._spec = self._data.spec
        inputs = world_model_inputs(config, self._data.fingerprint())
        self._stage_1 = StageRunner(config, folder, stop, "world_model", inputs, may_extend=False)
        inputs = policy_inputs(config, self._stage_1.fingerprint)
        self._stage_2 = StageRunner(config, folder, stop, "policy", inputs, may_extend=True)
        self._find_world_model()
        if self._stage != "world_model":
            self._stage_2.finished_record()
            self._env_id = self._check_environment()
            self._new_policy(self._new_world_model())  # refuses bad settings before stage 1 is paid

    def fit(self) -> dict[str, Any]:
        """Train what is left, evaluate, and write the report.

        Returns:
            The report, see :func:`lawm.report.build_report`; only complete on rank 0.
        """
        # Stage 1: the world model, on labelled and action-free windows
        pl.seed_everything(self._config.seed, verbose=False)
        world_model = self._new_world_model()
        if self._reused is not None and is_rank_zero():
            self._stage_1.reuse(self._reused)
        with told_in_sentences("world_model", self._folder.path):
            records = {"world_model": self._fit_world_model(world_model)}

        # Stage 2: the policy, in the imagination of the frozen world model
        if self._stage != "world_model":
            pl.seed_everything(self._config.seed, verbose=False)
            policy = self._new_policy(world_model)
            first_step = records["world_model"].global_step
            with told_in_sentences("policy", self._folder.path):
                records["policy"] = self._fit_policy(policy, world_model, first_step)

        evaluations = records["policy"].results if "policy" in records else {}
        report = build_report(self._folder, self._spec, self._data.summary(), records, evaluations)
        if is_rank_zero():
            self._folder.write_report(report)
        return report

    def data_summary(self) -> dict[str, int | float | str]:
        """Key figures of the data, once prepared."""
        return self._data.summary()

    def _new_world_model(self) -> WorldModelModule:
        return WorldModelModule(self._spec, **self._config.world_model)

    def _new_policy(self, world_model: WorldModelModule) -> LatentPolicyModule:
        return LatentPolicyModule(world_model.model, self._spec, **self._config.policy)

    def _fit_world_model(self, module: WorldModelModule) -> StageRecord:
        record = self._stage_1.finished_record(self._reused)
        if record is not None:
            self._stage_1.load_weights(module, self._reused)
            _log.info("Stage 1 is taken from %s.", (self._reused or self._stage_1.files).path)
            return record
        return self._stage_1.train(
            module,
            self._data,
            callbacks=[LatentActionPanelCallback(self._stage_1.files.panel_file)],
            figures={
                "loss": logged("world_model/loss"),
                "action R²": logged("held_out/action_r2_inverse"),
            },
            count_transitions=num_transitions,
            results=dict,
            console=self._console,
        )

    def _fit_policy(
        self, module: LatentPolicyModule, world_model: WorldModelModule, first_step: int
    ) -> StageRecord:
        record = self._stage_2.finished_record()
        if record is not None:
            return record
        starts = StartStateDataModule(
            world_model.model, self._data, **self._config.start_states, seed=self._config.seed
        )
        evaluation = self._evaluation_callback() if self._env_id else None

        def latest_return(trainer: pl.Trainer) -> float | None:
            return evaluation.results[-1].mean if evaluation and evaluation.results else None

        def imagined_transitions(batch: ModelState) -> int:
            return int(batch.h.shape[0]) * module.horizon

        return self._stage_2.train(
            module,
            starts,
            callbacks=[evaluation] if evaluation else [],
            figures={
                "imagined return": logged("policy/imagined_return"),
                "return": latest_return,
            },
            count_transitions=imagined_transitions,
            results=lambda: self._evaluations(evaluation, module) if evaluation else {},
            first_step=first_step,
            console=self._console,
        )

    def _evaluation_callback(self) -> EvaluationCallback:
        settings = self._config.evaluation
        assert self._env_id is not None
        return EvaluationCallback(
            self._env_id,
            self._spec.action_repeat,
            every_n_steps=settings.every_n_steps,
            episodes=settings.episodes,
            final_episodes=settings.final_episodes,
            seed=settings.seed,
            timeout=settings.timeout,
            data_return_mean=self._spec.return_mean,
            data_return_best=self._spec.return_best,
            csv_path=self._folder.evaluation_file,
            best_checkpoint_path=self._stage_2.files.best_checkpoint,
        )

    def _evaluations(
        self, evaluation: EvaluationCallback, module: LatentPolicyModule
    ) -> dict[str, Any]:
        """The final and the best evaluation; in place of one that failed, the reason."""
        numbers: dict[str, Any] = {}
        for name, point in (("final", evaluation.final), ("best", evaluation.best)):
            if point is not None and point.result is not None:
                numbers[name] = evaluation_numbers(self._spec, point.result, point.step)
            elif point is not None:
                numbers[name] = failed_evaluation(point.error, point.step)
        if evaluation.final is None:  # stopped between the last step and its evaluation
            numbers["final"] = self._final_evaluation(module)
        if failures := sum(point.result is None for point in evaluation.results):
            numbers["failures"] = failures
        return numbers

    def _final_evaluation(self, module: LatentPolicyModule) -> dict[str, Any]:
        settings = self._config.evaluation
        assert self._env_id is not None
        try:
            result = evaluate(
                module.agent(),
                self._env_id,
                self._spec.action_repeat,
                episodes=settings.final_episodes,
                seed=settings.seed,
                timeout=settings.timeout,
            )
        except SimulatorFault as fault:
            return failed_evaluation(str(fault))
        return evaluation_numbers(self._spec, result)

    def _find_world_model(self) -> None:
        """Find out whether stage 1 is finished, here or in the run that it is to be taken from."""
        if self._stage_1.finished_record() is not None:
            return
        if self._world_model_from is not None:
            source = _stage_1_folder(self._world_model_from)
            if self._stage_1.finished_record(source) is None:
                raise LawmError(
                    f"stage 1 of --world_model_from {self._world_model_from} is not finished: "
                    f"there is no {source.done_marker}. Finish it with `lawm fit --resume`, or "
                    "leave the option out."
                )
            self._reused = source
        elif self._stage == "policy":
            raise LawmError(
                f"--stage policy needs a finished stage 1, and {self._stage_1.files.path} holds "
                "none. Train it with --stage world_model or all, continue a run with --resume RUN, "
                "or take it from another run with --world_model_from RUN."
            )

    def _check_environment(self) -> str | None:
        env_id = self._config.evaluation.environment(self._spec.env_id)
        if env_id is None:
            _log.warning(
                "No return will be measured: the data names no environment and evaluation.env_id "
                "sets none."
            )
            return None
        make_env(env_id, self._spec.action_repeat)
        return env_id


def _stage_1_folder(path: Path) -> StageFolder:
    """The stage 1 of a run folder, or the one that a checkpoint lies in."""
    if not path.exists():
        raise LawmError(
            f"--world_model_from {path} does not exist; expected a run folder or its "
            "world_model/checkpoints/last.ckpt."
        )
    if path.is_file():
        return StageFolder(path.parent.parent)
    return RunFolder(path).stage("world_model")


__all__ = ["StageChoice", "TwoStageTrainer"]
