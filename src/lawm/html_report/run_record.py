"""All that a run folder tells, whatever state it is in."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lawm.fit_config import STAGES, StageName
from lawm.html_report.run_command import run_command
from lawm.html_report.run_files import Curve, FileReader, number, numbers, part
from lawm.html_report.run_status import RunStatus, StageProgress, status_of
from lawm.run_folder import RunFolder, open_run_folder


@dataclass(frozen=True)
class StageData:
    """What a stage logged and what its record says."""

    name: StageName
    curves: dict[str, Curve]
    newest: dict[str, float]  # the last value of every number, with those of its end
    progress: StageProgress


@dataclass(frozen=True)
class EvaluationRow:
    """A row of evaluation.csv."""

    step: int
    final: bool
    mean: float | None  # None where the evaluation failed
    std: float | None
    normalised: float | None
    returns: tuple[float, ...]  # of each episode
    discounted_return: float | None
    imagined_value: float | None
    seconds: float | None
    error: str


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells it."""

    path: Path
    name: str  # to tell it from the other runs on the page
    status: RunStatus
    config_text: str
    config: dict[str, Any]
    stages: dict[StageName, StageData]
    evaluations: list[EvaluationRow]
    panel: dict[str, Any]  # panel.json, {} without
    data: dict[str, Any]  # key figures of the data, {} where unknown
    starts: list[dict[str, Any]]  # from provenance.json, oldest first
    faults: list[Path]  # saved batches
    missing: list[str]  # sentences
    damaged: list[str]  # sentences

    @property
    def environment(self) -> str:
        """As the configuration or else the data name it; "" where neither does."""
        configured = part(self.config, "evaluation").get("env_id")
        if isinstance(configured, str) and configured not in ("", "none"):
            return configured
        found = self.data.get("environment")
        return found if isinstance(found, str) and found != "unknown" else ""

    @property
    def data_mean(self) -> float | None:
        """Mean return of the data's episodes."""
        return number(self.data.get("return mean"))

    @property
    def data_best(self) -> float | None:
        """Best return of the data's episodes."""
        return number(self.data.get("return best"))

    @property
    def measured(self) -> list[EvaluationRow]:
        """The evaluations that did not fail."""
        return [row for row in self.evaluations if row.mean is not None]

    @property
    def best(self) -> EvaluationRow | None:
        """The first of the evaluations with the highest mean return."""
        return max(
            self.measured, key=lambda row: -math.inf if row.mean is None else row.mean, default=None
        )

    @property
    def selected(self) -> EvaluationRow | None:
        """The evaluation of the policy that was selected offline; None where there is none."""
        curve = self.curves("policy").get("selection/imagined_reward")
        if curve is None:
            return None
        step = int(curve.steps[int(curve.values.argmax())])
        return next((row for row in self.evaluations if row.step == step), None)

    @property
    def final(self) -> EvaluationRow | None:
        """The evaluation at the end of training, failed or not."""
        return next((row for row in reversed(self.evaluations) if row.final), None)

    @property
    def seconds(self) -> float | None:
        """Training time of both stages, summed over resumes; None before a stage has ended."""
        known = [stage.progress.seconds for stage in self.stages.values()]
        found = [seconds for seconds in known if seconds is not None]
        return sum(found) if found else None

    @property
    def action_r2(self) -> float | None:
        """Of the action decoded from the inverse posterior, held out; the newest."""
        stage = self.stages.get("world_model")
        return stage.newest.get("held_out/action_r2_inverse") if stage else None

    def curves(self, name: StageName) -> dict[str, Curve]:
        """What a stage logged; {} of one that the run's method has not."""
        return self.stages[name].curves if name in self.stages else {}


def read_run(path: Path, name: str | None = None) -> RunRecord:
    """Read a run folder.

    Args:
        path: The folder.
        name: To tell the run from others; default the folder's own name and that above it.

    Raises:
        LawmError: It is no run folder, or a link in it leads out of it.
    """
    folder = open_run_folder(path)
    files = FileReader(path)
    config = files.settings(folder.config_file)
    report = files.mapping(folder.report_file)
    provenance = files.mapping(folder.provenance_file)
    stages = {stage: _stage(files, folder, config, stage) for stage in _stages_run(config)}
    faults = sorted(file for file in folder.faults.glob("*.npz") if file.is_file())
    starts = provenance.get("starts")
    starts = starts if isinstance(starts, list) else []
    starts = [start for start in starts if isinstance(start, dict)]
    record = RunRecord(
        path=path,
        name=name or "/".join(path.resolve().parts[-2:]),  # runs/NAME/DATE-TIME
        status=status_of(
            folder,
            {key: stage.progress for key, stage in stages.items()},
            report,
            bool(faults),
            run_command(starts, "lawm", "fit", "--resume", path),
        ),
        config_text=files.text(folder.config_file) or "",
        config=config,
        stages=stages,
        evaluations=_evaluations(files, folder.evaluation_file),
        panel=files.mapping(folder.stage("world_model").panel_file),
        data=part(provenance, "data") or part(report, "data"),
        starts=starts,
        faults=faults,
        missing=[],
        damaged=files.damaged,
    )
    record.missing.extend(_missing(folder, record))
    return record


def _stages_run(config: dict[str, Any]) -> list[StageName]:
    """The stages of the run's method, see :attr:`lawm.fit_config.FitConfig.stages_run`."""
    skipped = set() if config.get("pseudo_labels") is True else {"inverse_dynamics"}
    if config.get("method") == "behaviour_cloning":
        skipped.add("world_model")
    return [stage for stage in STAGES if stage not in skipped]


def _stage(
    files: FileReader, folder: RunFolder, config: dict[str, Any], name: StageName
) -> StageData:
    stage = folder.stage(name)
    done = files.mapping(stage.done_marker)
    curves = files.curves(stage.metrics_file)
    newest = {key: float(curve.values[-1]) for key, curve in curves.items()}
    metrics = part(done, "metrics").items()
    newest |= {key: found for key, value in metrics if (found := number(value)) is not None}
    logged = max((curve.steps[-1] for curve in curves.values()), default=None)
    steps = number(done.get("global_step"))
    steps = logged if steps is None else steps
    planned = number(part(config, "stages", name).get("max_steps"))
    progress = StageProgress(
        steps=None if steps is None else int(steps),
        planned=None if planned is None else int(planned),
        seconds=number(done.get("seconds")),
        is_done=bool(done),
        has_checkpoint=stage.has_checkpoint(),
    )
    return StageData(name, curves, newest, progress)


def _evaluations(files: FileReader, path: Path) -> list[EvaluationRow]:
    rows = []
    for row in files.rows(path):
        step = number(row.get("step"))
        if step is None:
            files.damaged.append(f"{path.name} has a row without a step; the row is left out.")
            continue
        rows.append(
            EvaluationRow(
                step=int(step),
                final=row.get("final") == "1",
                mean=number(row.get("mean")),
                std=number(row.get("std")),
                normalised=number(row.get("normalised")),
                returns=tuple(numbers((row.get("returns") or "").split())),
                discounted_return=number(row.get("discounted_return")),
                imagined_value=number(row.get("imagined_value")),
                seconds=number(row.get("seconds")),
                error=re.sub(r"\s+", " ", row.get("error") or "").strip(),
            )
        )
    return sorted(rows, key=lambda row: row.step)


def _missing(folder: RunFolder, record: RunRecord) -> list[str]:
    """What a finished run has and this one has not, with the reason as far as it can be told."""
    world_model = folder.stage("world_model")
    evaluates = part(record.config, "evaluation").get("env_id") != "none"
    has_model = "world_model" in record.stages
    wanted = [
        (world_model.metrics_file, "no number of the world model was logged yet", has_model),
        (
            world_model.panel_file,
            "the latent-action panel comes with the first validation, where labelled episodes are "
            "held out (data.held_out) and are longer than its context",
            has_model,
        ),
        (folder.stage("policy").metrics_file, "no number of the policy was logged yet", True),
        (folder.evaluation_file, "the policy was not measured in an environment yet", evaluates),
        (folder.report_file, "it is written when the run ends", record.status.is_whole),
        (
            folder.provenance_file,
            "command, versions and commit are unknown; runs of older versions of lawm have none",
            True,
        ),
    ]
    missing = [
        f"{file.relative_to(record.path)}: {reason}."
        for file, reason, expected in wanted
        if expected and not file.is_file()
    ]
    if not any(file.is_file() for file in folder.tensorboard.glob("events.*")):
        missing.append("tensorboard/: no event file, so no pictures.")
    return missing


__all__ = ["EvaluationRow", "RunRecord", "StageData", "read_run"]
