"""The two-stage trainer: world model, start states, policy and report, in one run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console

from lawm.action_prediction_module import ActionPredictionModule
from lawm.action_predictor import PseudoLabeller
from lawm.callbacks.ensemble_training import EnsembleTraining
from lawm.callbacks.imagination_pictures import ImaginationPicturesCallback
from lawm.callbacks.latent_action_panel import LatentActionPanelCallback
from lawm.callbacks.policy_trials import PolicyTrials, refuse_trials_beyond_the_stage
from lawm.callbacks.prior_training import PriorTraining
from lawm.callbacks.progress import logged
from lawm.callbacks.throughput import num_transitions
from lawm.data_modules.mixed_trajectories import MixedTrajectoryDataModule
from lawm.environment_check import environment_of_run
from lawm.fit_config import FitConfig, StageName
from lawm.own_modules import latent_policy_module, named, world_model_module
from lawm.policy_evaluation import PolicyEvaluation
from lawm.policy_module import LatentPolicyModule
from lawm.ranks import is_rank_zero
from lawm.report import build_report
from lawm.reward_check import refuse_missing_rewards
from lawm.run_folder import RunFolder, StageFolder, StageRecord
from lawm.spec import DataSpec
from lawm.stage_faults import told_in_sentences
from lawm.stage_identity import (
    cloning_inputs,
    inverse_dynamics_inputs,
    policy_inputs,
    world_model_inputs,
)
from lawm.stage_runner import StageRunner
from lawm.start_states import StartStateDataModule
from lawm.stop_signals import StopSignals
from lawm.trainer_check import refuse_bad_trainers
from lawm.world_model_module import WorldModelModule
from lawm.world_model_source import StageChoice, find_world_model, refuse_world_model

_log = logging.getLogger(__name__)


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
        self._is_cloned = config.method == "behaviour_cloning"
        self._labelling: StageRunner
        self._stage_1: StageRunner
        self._stage_2: StageRunner
        self._reused: StageFolder | None = None

    def prepare(self) -> None:
        """Read the data and check everything that can be checked; writes nothing.

        Raises:
            LawmError: Something is wrong with the data, the settings, or the checkpoints that are
                to be continued or reused.
        """
        if self._is_cloned:
            refuse_world_model(self._stage, self._world_model_from)
        refuse_bad_trainers(self._config)
        self._data.setup("fit")
        self._spec = self._data.spec
        config, content, labels = self._config, self._data.fingerprint(), None
        if config.pseudo_labels:
            self._labelling = self._runner(
                "inverse_dynamics", inverse_dynamics_inputs(config, content)
            )
            labels = self._labelling.fingerprint
            self._labelling.finished_record()
            self._new_inverse_dynamics()
        if self._is_cloned:
            inputs = cloning_inputs(config, content, labels)
        else:
            self._stage_1 = self._runner("world_model", world_model_inputs(config, content, labels))
            inputs = policy_inputs(config, self._stage_1.fingerprint)
            self._reused = find_world_model(self._stage_1, self._stage, self._world_model_from)
        self._stage_2 = self._runner("policy", inputs, may_extend=True)
        if self._stage != "world_model":
            self._stage_2.finished_record()
            self._env_id = environment_of_run(self._spec, self._config.evaluation)
            self._refuse_bad_policy()  # before stage 1 is paid for

    def fit(self) -> dict[str, Any]:
        """Train what is left, evaluate, and write the report.

        Returns:
            The report, see :func:`lawm.report.build_report`; only complete on rank 0.
        """
        records: dict[str, StageRecord] = {}
        if self._reused is not None and is_rank_zero():  # first: a resumed run is not told again
            self._stage_1.reuse(self._reused)

        # Pseudo-labels: inverse dynamics from the labelled trajectories, for the others
        if self._config.pseudo_labels:
            pl.seed_everything(self._config.seed, verbose=False)
            with told_in_sentences("inverse_dynamics", self._folder.path):
                records["inverse_dynamics"] = self._fit_inverse_dynamics()

        # Stage 1: the world model, on labelled and action-free windows
        if not self._is_cloned:
            pl.seed_everything(self._config.seed, verbose=False)
            world_model = self._new_world_model()
            with told_in_sentences("world_model", self._folder.path):
                records["world_model"] = self._fit_world_model(world_model, _steps(records))

        # Stage 2: the policy, in the imagination of the frozen world model, or cloned
        if self._stage != "world_model":
            pl.seed_everything(self._config.seed_of("policy"), verbose=False)
            with told_in_sentences("policy", self._folder.path):
                first_step = _steps(records)
                if (finished := self._stage_2.finished_record()) is not None:
                    records["policy"] = finished
                elif self._is_cloned:
                    records["policy"] = self._fit_cloned_policy(first_step)
                else:
                    records["policy"] = self._fit_policy(world_model, first_step)
        else:  # one that an earlier call trained stays in the report
            before = self._stage_2.files.read_done()
            if before is not None and before.fingerprint == self._stage_2.fingerprint:
                records["policy"] = before

        evaluations = records["policy"].results if "policy" in records else {}
        spec, env_id = self._spec, self._config.evaluation.environment(self._spec.env_id)
        report = build_report(
            self._folder, spec, env_id, self._data.summary(), records, evaluations
        )
        if is_rank_zero():
            self._folder.write_report(report)
        return report

    def data_summary(self) -> dict[str, int | float | str]:
        """Key figures of the data, once prepared."""
        return self._data.summary()

    def _runner(
        self, name: StageName, inputs: dict[str, Any], may_extend: bool = False
    ) -> StageRunner:
        return StageRunner(
            self._config, self._folder, self._stop, name, inputs, may_extend, self._console
        )

    def _new_inverse_dynamics(self) -> ActionPredictionModule:
        settings = self._config.inverse_dynamics
        return ActionPredictionModule(self._spec, **settings, stage="inverse_dynamics")

    def _new_world_model(self) -> WorldModelModule:
        name = self._config.stages["world_model"].module
        module = world_model_module(name)(self._spec, **self._config.world_model)
        return named(module, name)

    def _new_policy(self, world_model: WorldModelModule) -> LatentPolicyModule:
        name = self._config.stages["policy"].module
        module = latent_policy_module(name)
        return named(module(world_model.model, self._spec, **self._config.policy), name)

    def _new_cloned_policy(self) -> ActionPredictionModule:
        return ActionPredictionModule(self._spec, **self._config.cloning, stage="policy")

    def _refuse_bad_policy(self) -> None:
        """Build it, and throw it away."""
        if self._is_cloned:
            self._new_cloned_policy().agent()
        else:
            refuse_missing_rewards(self._data)
            policy = self._new_policy(self._new_world_model())
            steps = self._config.stages["policy"].max_steps
            refuse_trials_beyond_the_stage(
                policy.trials, policy.trial_steps, steps, policy.cooldown
            )

    def _fit_inverse_dynamics(self) -> StageRecord:
        """Train it, and let it label what the data module hands out from now on."""
        module, record = self._new_inverse_dynamics(), self._labelling.finished_record()
        if record is not None:
            self._labelling.load_weights(module)
        else:
            record = self._labelling.train(
                module,
                self._data,
                callbacks=[],
                figures={
                    "loss": logged("inverse_dynamics/loss"),
                    "action R²": logged("held_out/action_r2"),
                },
                count_transitions=num_transitions,
                results=dict,
            )
        self._data.label_with(PseudoLabeller(module.model))
        return record

    def _fit_world_model(self, module: WorldModelModule, first_step: int) -> StageRecord:
        record = self._stage_1.finished_record(self._reused)
        if record is not None:
            self._stage_1.load_weights(module, self._reused)
            _log.info("Stage 1 is taken from %s.", (self._reused or self._stage_1.files).path)
            return record
        return self._stage_1.train(
            module,
            self._data,
            callbacks=[
                LatentActionPanelCallback(self._stage_1.files.panel_file),
                ImaginationPicturesCallback(self._stage_1.files.pictures),
            ],
            figures={
                "loss": logged("world_model/loss"),
                "action R²": logged("held_out/action_r2_inverse"),
            },
            count_transitions=num_transitions,
            results=dict,
            first_step=first_step,
        )

    def _fit_policy(self, world_model: WorldModelModule, first_step: int) -> StageRecord:
        module, seed = self._new_policy(world_model), self._config.seed_of("policy")
        starts = StartStateDataModule(
            world_model.model, self._data, **self._config.start_states, seed=seed
        )
        self._stage_2.tell("the data is filtered for start states")
        callbacks = [
            PriorTraining(module, starts.behaviour, seed, self._stage_2.tell),
            EnsembleTraining(module, starts.transitions, seed),
            PolicyTrials(module, starts.spread, lambda: self._new_policy(world_model), seed),
        ]
        count = module.imagined_transitions
        return self._train_policy(module, starts, "imagined return", count, first_step, callbacks)

    def _fit_cloned_policy(self, first_step: int) -> StageRecord:
        module = self._new_cloned_policy()
        return self._train_policy(module, self._data, "loss", num_transitions, first_step, [])

    def _train_policy(
        self,
        module: LatentPolicyModule | ActionPredictionModule,
        data: MixedTrajectoryDataModule | StartStateDataModule,
        figure: str,
        count_transitions: Callable[[Any], int],
        first_step: int,
        callbacks: list[pl.Callback],
    ) -> StageRecord:
        settings = self._config.evaluation
        starts = data.spread if isinstance(data, StartStateDataModule) else None
        evaluation = PolicyEvaluation(self._env_id, settings, self._spec, self._folder, starts)
        return self._stage_2.train(
            module,
            data,
            callbacks=[*callbacks, *evaluation.callbacks],
            figures={
                figure: logged(f"policy/{figure.replace(' ', '_')}"),
                "return": evaluation.latest_return,
            },
            count_transitions=count_transitions,
            results=lambda: evaluation.numbers(module),
            first_step=first_step,
        )


def _steps(records: Mapping[str, StageRecord]) -> int:
    """Where the next stage begins on the run's time axis."""
    return sum(record.global_step for record in records.values())


__all__ = ["TwoStageTrainer"]
