"""What one `lawm fit` is asked to do, as plain values and the user's callbacks.

The command line builds a :class:`FitConfig`; the two-stage trainer reads it. Neither changes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import lightning.pytorch as pl

from lawm.errors import LawmError

CompileMode = Literal["auto", "off", "full"]  # see lawm.acceleration
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16")
Method = Literal["latent_action", "behaviour_cloning"]
StageName = Literal["inverse_dynamics", "world_model", "policy"]
STAGES: tuple[StageName, ...] = ("inverse_dynamics", "world_model", "policy")  # in their order


@dataclass(frozen=True)
class StageConfig:
    """Settings of one stage's Lightning ``Trainer``; None keeps the value of ``trainer``.

    Attributes:
        max_steps: Optimizer steps of the stage.
        checkpoint_every_n_steps: Steps between two writes of ``checkpoints/last.ckpt``.
        val_check_interval: Training steps between two validations.
        limit_val_batches: Batches of one validation; 0 switches validation off.
        gradient_clip_val: Largest gradient norm.
        accumulate_grad_batches: Batches per optimizer step.
        precision: Numeric precision, in Lightning's words ("32-true", "bf16-mixed").
        log_every_n_steps: Steps between two rows of ``metrics.csv``.
        callbacks: Of your own, by class_path, beside lawm's; they are no input of the stage, so
            they must not change training.
        module: Class of your own that the stage trains in place of lawm's, a subclass of it by its
            dotted name, see :mod:`lawm.own_modules`.
    """

    max_steps: int = 2500
    checkpoint_every_n_steps: int = 250
    val_check_interval: int = 500
    limit_val_batches: int | float | None = None
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int | None = None
    precision: str | None = None
    log_every_n_steps: int | None = None
    callbacks: list[pl.Callback] | None = None
    module: str | None = None

    def trainer_arguments(self) -> dict[str, Any]:
        """What goes to ``Trainer``: the settings that are its own and not None; no callbacks."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["checkpoint_every_n_steps"], values["callbacks"], values["module"]
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True)
class EvaluationConfig:
    """When and how the policy is measured in its environment.

    Attributes:
        every_n_steps: Policy updates between two evaluations, and between two looks of the offline
            selection.
        episodes: Episodes of each evaluation along the run.
        final_episodes: Episodes of the evaluation at the end. One start in ten that fails moves a
            mean of ten by a tenth of the return: the number that is reported needs more of them.
        seed: Episode i starts from seed + i, in every evaluation the same.
        env_id: Environment, as "dm_control/cheetah-run"; None takes the one that the data names,
            "none" evaluates nothing.
        timeout: Seconds without an answer after which hanging simulators are killed; the
            evaluation then counts as failed, and training goes on.
    """

    every_n_steps: int = 100
    episodes: int = 10
    final_episodes: int = 50
    seed: int = 1000
    env_id: str | None = None
    timeout: float = 60.0

    def environment(self, named_by_data: str) -> str | None:
        """The environment to evaluate in; None if there is none."""
        env_id = named_by_data if self.env_id is None else self.env_id
        return None if env_id in ("", "none") else env_id


@dataclass(frozen=True)
class FitConfig:
    """Everything that decides what `lawm fit` computes; saved as ``config.yaml`` of the run."""

    name: str  # of the experiment; the default run folder is runs/<name>/<date-time>
    seed: int
    data: dict[str, Any]  # arguments of MixedTrajectoryDataModule but its seed
    inverse_dynamics: dict[str, Any]  # arguments of ActionPredictionModule but the data spec
    world_model: dict[str, Any]  # arguments of WorldModelModule but the data spec
    policy: dict[str, Any]  # arguments of LatentPolicyModule but the world model and the data spec
    cloning: dict[str, Any]  # arguments of ActionPredictionModule but the data spec
    start_states: dict[str, Any]  # arguments of StartStateDataModule that are settings
    trainer: dict[str, Any]  # Lightning Trainer arguments that both stages share
    stages: dict[StageName, StageConfig]
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    compile: CompileMode = (
        "auto"  # how the arithmetic is run; changes results in the last bits alone
    )
    method: Method = "latent_action"  # policy in a world model's imagination, or by cloning
    pseudo_labels: bool = False  # inverse dynamics label the action-free episodes first
    policy_seed: int | None = None  # of stage 2 alone; None takes that of the run

    @property
    def stages_run(self) -> tuple[StageName, ...]:
        """The stages of this run, in their order."""
        skipped: set[StageName] = set() if self.pseudo_labels else {"inverse_dynamics"}
        if self.method == "behaviour_cloning":
            skipped.add("world_model")
        return tuple(stage for stage in STAGES if stage not in skipped)

    def seed_of(self, stage: StageName) -> int:
        """Of a stage's weights and samples."""
        if stage == "policy" and self.policy_seed is not None:
            return self.policy_seed
        return self.seed

    def settings_of(self, stage: StageName) -> str:
        """Name of the field that holds the arguments of what a stage trains."""
        is_cloned = stage == "policy" and self.method == "behaviour_cloning"
        return "cloning" if is_cloned else stage

    def __post_init__(self) -> None:
        """Check counts, seeds and precisions.

        Raises:
            LawmError: A count is below one, a seed is none, or a precision is not supported.
        """
        names = (
            "max_steps",
            "checkpoint_every_n_steps",
            "val_check_interval",
            "log_every_n_steps",
            "accumulate_grad_batches",
        )
        counts = {
            f"stages.{stage}.{name}": getattr(settings, name)
            for stage, settings in self.stages.items()
            for name in names
        }
        for name in ("log_every_n_steps", "accumulate_grad_batches"):
            counts[f"trainer.{name}"] = self.trainer.get(name)
        for name in ("every_n_steps", "episodes", "final_episodes"):
            counts[f"evaluation.{name}"] = getattr(self.evaluation, name)
        for key, value in counts.items():
            if value is not None and value < 1:
                raise LawmError(f"{key} is {value}; expected a whole number from 1.")
        seeds = {
            "seed": self.seed,
            "policy_seed": self.seed_of("policy"),
            "evaluation.seed": self.evaluation.seed,
        }
        for key, seed in seeds.items():
            if not 0 <= seed < 2**32:
                raise LawmError(f"{key} is {seed}; expected a whole number from 0 to {2**32 - 1}.")
        if not self.evaluation.timeout > 0:
            raise LawmError(
                f"evaluation.timeout is {self.evaluation.timeout}; expected seconds above 0."
            )
        precisions = {f"stages.{s}.precision": c.precision for s, c in self.stages.items()}
        precisions["trainer.precision"] = self.trainer.get("precision")
        for key, value in precisions.items():
            if value is not None and str(value) not in PRECISIONS:
                raise LawmError(
                    f"{key} is {value}; expected one of {', '.join(PRECISIONS)}. Half precision "
                    "with a gradient scaler is not supported, bfloat16 needs none; nor is double."
                )


__all__ = [
    "STAGES",
    "CompileMode",
    "EvaluationConfig",
    "FitConfig",
    "Method",
    "StageConfig",
    "StageName",
]
