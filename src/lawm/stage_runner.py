"""One stage of a run: found finished, continued, or trained from its beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console

from lawm.acceleration import accelerate
from lawm.atomic_write import atomic_file, write_atomically
from lawm.callbacks.health import HealthCallback
from lawm.callbacks.progress import Figure, StageProgress
from lawm.callbacks.random_stream import RandomStream
from lawm.callbacks.stage_checkpoint import StageCheckpoint
from lawm.callbacks.throughput import ThroughputCallback
from lawm.checkpoint_file import IDENTITY_KEY, newest_checkpoint, training_inputs
from lawm.checkpoint_io import VerifiedCheckpointIO
from lawm.errors import LawmError
from lawm.fit_config import FitConfig, StageName
from lawm.ranks import is_rank_zero
from lawm.run_folder import RunFolder, StageFolder, StageRecord
from lawm.run_loggers import MetricsCSV, OffsetTensorBoardLogger, last_values
from lawm.stage_identity import differences, fingerprint
from lawm.stage_module import StageModule
from lawm.stop_signals import StopSignals

_WHAT: dict[StageName, str] = {
    "inverse_dynamics": "inverse dynamics",
    "world_model": "world model",
    "policy": "policy",
}


def stage_titles(stages: tuple[StageName, ...]) -> list[str]:
    """As "Stage 1 of 2, world model"."""
    return [
        f"Stage {number} of {len(stages)}, {_WHAT[stage]}"
        for number, stage in enumerate(stages, start=1)
    ]


class StageRunner:
    """Trains one stage, with a Lightning Trainer of its own.

    Args:
        config: Of the run.
        folder: Of the run.
        stop: Tells whether the run was asked to stop.
        name: Of the stage.
        inputs: What the stage's weights depend on, see :mod:`lawm.stage_identity`.
        may_extend: Whether the stage may go on after its end, to a larger ``max_steps``; not where
            a later stage already builds on it.
        console: Where progress is shown; default the standard error stream.
    """

    def __init__(
        self,
        config: FitConfig,
        folder: RunFolder,
        stop: StopSignals,
        name: StageName,
        inputs: dict[str, Any],
        may_extend: bool,
        console: Console | None = None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._stop = stop
        self._name = name
        self._inputs = inputs
        self._may_extend = may_extend
        self._settings = config.stages[name]
        self.files: StageFolder = folder.stage(name)
        self.fingerprint = fingerprint(inputs)
        self._console = console or Console(stderr=True)
        stages = config.stages_run
        self._titles, self._number = stage_titles(stages), stages.index(name)

    def tell(self, text: str) -> None:
        """Show what takes a while before the first step of the stage; rank 0 alone does."""
        if is_rank_zero():
            self._console.print(f"{self._titles[self._number]}: {text}", soft_wrap=True)

    def finished_record(self, files: StageFolder | None = None) -> StageRecord | None:
        """The record of the stage if it is finished, None if there is something left to train.

        Args:
            files: Where to look; default the run's own folder.

        Raises:
            LawmError: What is there was trained with other inputs, or for longer than asked.
        """
        files = files or self.files
        record = files.read_done()
        if record is None and not files.has_checkpoint():
            return None
        path, checkpoint = _newest(files)
        may_differ_in_length = record is None or self._may_extend
        self._require_same_inputs(path, checkpoint, may_differ_in_length)
        step, max_steps = int(checkpoint["global_step"]), self._settings.max_steps
        if step > max_steps:
            raise LawmError(
                f"{path} is at step {step}, beyond stages.{self._name}.max_steps "
                f"= {max_steps}; training does not go back. Set it to {step} or more."
            )
        return record if step == max_steps else None

    def reuse(self, source: StageFolder) -> None:
        """Copy a finished stage from another run, so that this run is complete by itself."""
        path, _ = _newest(source)
        with atomic_file(self.files.last_checkpoint) as file:
            file.write(path.read_bytes())
        for there, here in (
            (source.metrics_file, self.files.metrics_file),
            (source.panel_file, self.files.panel_file),
        ):
            if there.is_file():
                write_atomically(here, there.read_text())
        write_atomically(self.files.done_marker, source.done_marker.read_text())

    def load_weights(self, module: StageModule[Any], files: StageFolder | None = None) -> None:
        """Give a fresh module the weights of the finished stage."""
        _, checkpoint = _newest(files or self.files)
        module.load_state_dict(checkpoint["state_dict"])

    def train(
        self,
        module: StageModule[Any],
        data: pl.LightningDataModule,
        callbacks: list[pl.Callback],
        figures: Mapping[str, Figure],
        count_transitions: Callable[[Any], int],
        results: Callable[[], dict[str, Any]],
        first_step: int = 0,
    ) -> StageRecord:
        """Train to the end and mark the stage as finished.

        Args:
            module: What is trained.
            data: What it is trained on.
            callbacks: What watches the stage, beside progress, throughput and checkpoints.
            figures: Numbers beside the progress bar.
            count_transitions: Transitions in a batch, for the throughput.
            results: Called at the end on rank 0, for the record.
            first_step: Step of the run's time axis at which the stage begins.

        Raises:
            LawmError: Something ended the training before ``max_steps``.
        """
        resume, done_steps = self._resume_from()
        checkpoint = StageCheckpoint(
            self.files.last_checkpoint,
            self.files.previous_checkpoint,
            self._settings.checkpoint_every_n_steps,
            identity={"inputs": self._inputs, "fingerprint": self.fingerprint},
            identity_key=IDENTITY_KEY,
            stop=self._stop,
        )
        arguments = {**self._config.trainer, **self._settings.trainer_arguments()}
        throughput = ThroughputCallback(arguments.get("log_every_n_steps") or 50, count_transitions)
        progress = StageProgress(self._titles, self._number, figures, console=self._console)
        tensorboard = OffsetTensorBoardLogger(self._folder.tensorboard, first_step, done_steps)
        table = MetricsCSV(self.files.metrics_file, done_steps)
        trainer = pl.Trainer(
            **{**arguments, "plugins": _with_checkpoint_files(arguments.get("plugins"))},
            max_epochs=-1,
            check_val_every_n_epoch=None,  # validation counts steps: the data has no epochs
            use_distributed_sampler=False,  # the data modules share the batches among processes
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self._folder.path,
            logger=[tensorboard, table],
            callbacks=[
                module.means,
                RandomStream(self._config.seed_of(self._name)),
                throughput,
                *callbacks,
                *(self._settings.callbacks or ()),
                progress,
                HealthCallback(
                    self._name,
                    self._folder.faults,
                    self._folder.path,
                    self._config.settings_of(self._name),
                ),
                checkpoint,
            ],
        )
        tensorboard.follow(trainer)
        table.follow(trainer)
        if is_rank_zero():
            self.files.done_marker.unlink(missing_ok=True)  # an extended stage is not finished
        is_bf16 = str(trainer.precision).startswith("bf16")
        on_cpu = trainer.strategy.root_device.type == "cpu"
        accelerate(module, self._config.compile, bf16_on_cpu=is_bf16 and on_cpu)
        module.to(trainer.strategy.root_device)  # start states are computed on the device, too
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        self._refuse_early_end(trainer.global_step)
        record = StageRecord(
            fingerprint=self.fingerprint,
            global_step=trainer.global_step,
            seconds=checkpoint.seconds,
            metrics={**last_values(self.files.metrics_file), **_throughput(throughput)},
            results=results() if trainer.is_global_zero else {},
        )
        if trainer.is_global_zero:
            self.files.write_done(record)
        trainer.strategy.barrier()
        return record

    def _refuse_early_end(self, step: int) -> None:
        """What is fingerprinted as trained to the end must have been."""
        if step < self._settings.max_steps:
            raise LawmError(
                f"the stage {self._name} ended at step {step} of stages.{self._name}.max_steps "
                f"= {self._settings.max_steps}, so it does not count as finished. What stopped it: "
                f"a callback of stages.{self._name}.callbacks, such as EarlyStopping, or "
                "trainer.limit_train_batches. Take that out and go on with `lawm fit --resume`, or "
                "set max_steps to the length that is wanted."
            )

    def _resume_from(self) -> tuple[Path | None, int | None]:
        """The checkpoint to go on from and its step, if there is one.

        A damaged one is put aside, or it would take the place of the good one at the next save.
        """
        if not self.files.has_checkpoint():
            return None, None
        path, content = _newest(self.files)
        damaged = self.files.last_checkpoint
        if is_rank_zero() and path != damaged and damaged.is_file():
            damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        return path, int(content["global_step"])

    def _require_same_inputs(
        self, path: Path, checkpoint: dict[str, Any], ignore_length: bool
    ) -> None:
        there = training_inputs(path, checkpoint)
        if different := differences(there, self._inputs, ignore_length=ignore_length):
            advice = "Use the same values, or start a new run."
            if self._name == "world_model" and all(key.startswith("seed (") for key in different):
                advice += (
                    " For another policy in this world model keep its seed, and set --policy_seed."
                )
            raise LawmError(
                f"checkpoint {path} was trained with another configuration: "
                f"{'; '.join(different)}. {advice}"
            )


def _newest(files: StageFolder) -> tuple[Path, dict[str, Any]]:
    return newest_checkpoint(files.last_checkpoint, files.previous_checkpoint)


def _with_checkpoint_files(plugins: Any) -> list[Any]:  # noqa: ANN401
    """Lightning's plugins, one or a list or none, and how checkpoints are stored."""
    listed = plugins if isinstance(plugins, list) else [plugins] if plugins is not None else []
    return [*listed, VerifiedCheckpointIO()]


def _throughput(callback: ThroughputCallback) -> dict[str, float]:
    values = callback.summary.to_dict() if callback.summary else {}
    return {f"throughput/{name}": value for name, value in values.items()}


__all__ = ["StageRunner", "stage_titles"]
