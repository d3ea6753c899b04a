"""The result of a run: numbers for ``report.json`` and the table that is printed at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from lawm.evaluation_result import EvaluationResult
from lawm.return_number import mean_and_spread, return_number
from lawm.run_folder import RunFolder, StageRecord
from lawm.spec import DataSpec
from lawm.user_modules import allowing


def evaluation_numbers(
    spec: DataSpec, result: EvaluationResult, step: int | None = None
) -> dict[str, Any]:
    """One evaluation as plain numbers; what is unknown is None, never NaN (JSON has none)."""
    numbers = {
        "mean": result.mean,
        "std": result.std,
        "episodes": len(result.returns),
        "normalised": result.normalised(spec.return_mean, spec.return_best),
        "returns": list(result.returns),
    }
    if step is not None:
        numbers["step"] = step
    return {key: _known(value) for key, value in numbers.items()}


def failed_evaluation(reason: str, step: int | None = None) -> dict[str, Any]:
    """What stands in place of the numbers of an evaluation that failed."""
    return {"error": reason} if step is None else {"error": reason, "step": step}


def build_report(
    folder: RunFolder,
    spec: DataSpec,
    env_id: str | None,
    data_summary: Mapping[str, Any],
    stages: Mapping[str, StageRecord],
    evaluations: Mapping[str, Any],
) -> dict[str, Any]:
    """All numbers of a run.

    Args:
        folder: Of the run.
        spec: Of its data.
        env_id: Where its policies are measured; None if nowhere.
        data_summary: Key figures of the data module.
        stages: Record of each finished stage.
        evaluations: "final", "selected" and "best" from :func:`evaluation_numbers` or
            :func:`failed_evaluation`, if there were any, how many of all failed, as "failures", and
            where a policy was selected offline, as "selection".
    """
    return {
        "run": str(folder.path),
        "environment": env_id,
        "data": {
            **{key: _known(value) for key, value in data_summary.items()},
            "return mean": _known(spec.return_mean),
            "return best": _known(spec.return_best),
        },
        "evaluation": dict(evaluations),
        "latent_action": _panel(folder),
        "stages": {
            name: {
                "steps": record.global_step,
                "seconds": record.seconds,
                "metrics": {key: _known(value) for key, value in record.metrics.items()},
            }
            for name, record in stages.items()
        },
    }


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """The table at the end of a run: what it reached, against the data, and what it took."""
    table = Table(title=f"Run {report['run']}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, title in (
        ("final", "Return, final policy"),
        ("selected", "Return, policy selected offline"),
        ("best", "Return, best policy"),
    ):
        if numbers := report["evaluation"].get(name):
            failed = "error" in numbers
            table.add_row(
                title,
                f"not measured: {numbers['error']}" if failed else return_text(numbers),
            )
    selection = report["evaluation"].get("selection")
    if selection and "selected" not in report["evaluation"]:
        reward = selection["imagined_reward"]
        text = f"step {selection['step']}, imagined reward {reward:.3g} a step"
        table.add_row("Policy selected offline", text)
    if failures := report["evaluation"].get("failures"):
        table.add_row("Evaluations that failed", f"{failures}, reasons in evaluation.csv")
    data = report["data"]
    if data["return mean"] is not None:
        mean, best = return_number(data["return mean"]), return_number(data["return best"])
        text = f"mean {mean}, best {best}"
        table.add_row("Return, episodes of the data", text)
    table.add_row(
        "Data",
        f"{data['labelled episodes']} labelled, {data['action-free episodes']} action-free, "
        f"{data['held-out episodes']} held-out episodes; rewards on "
        f"{data['episodes with rewards']} of those that are trained on",
    )
    for stage, metric, source in (
        ("inverse_dynamics", "held_out/action_r2", "inverse dynamics"),
        ("world_model", "held_out/action_r2_inverse", "the inverse posterior"),
    ):
        r2 = report["stages"].get(stage, {}).get("metrics", {}).get(metric)
        if r2 is not None:
            table.add_row("Held-out R² of the action", f"{r2:.3f} from {source}")
    if panel := report["latent_action"]:
        table.add_row("Latent action", f"{panel['verdict']}. {panel['reason']}")
    for number, (name, stage) in enumerate(report["stages"].items(), start=1):
        table.add_row(f"Stage {number}, {name.replace('_', ' ')}", _stage_text(stage))
    if "final" in report["evaluation"]:
        table.add_row("Measure again", allowing(f"lawm evaluate {report['run']}"))
    table.add_row("Look at it", f"tensorboard --logdir {report['run']}/tensorboard")
    console.print(table)


def return_text(numbers: Mapping[str, Any]) -> str:
    """As "241.3 ± 12.0 over 10 episodes (0.82 of the way from the data's mean to its best)"."""
    count = numbers["episodes"]
    text = mean_and_spread(numbers["mean"], numbers["std"])
    text += f" over {count} episode{'s' if count != 1 else ''}"
    if numbers.get("step") is not None:
        text += f", step {numbers['step']}"
    if numbers["normalised"] is not None:
        text += f"; normalised {numbers['normalised']:.2f} (data's mean 0, its best 1)"
    return text


def _panel(folder: RunFolder) -> dict[str, Any] | None:
    """The last latent-action panel, None where nothing was held out to measure it on."""
    file = folder.stage("world_model").panel_file
    if not file.is_file():
        return None
    panel: dict[str, Any] = json.loads(file.read_text())
    return {key: _known(value) for key, value in panel.items()}


def _stage_text(stage: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(stage["seconds"]), 60)
    text = f"{stage['steps']} steps in {minutes}:{seconds:02d} min"
    transitions = stage["metrics"].get("throughput/transitions_per_second")
    updates = stage["metrics"].get("throughput/updates_per_second")
    if updates is not None and transitions is not None:
        text += f", {updates:.1f} updates/s, {transitions:,.0f} transitions/s"
    return text


def _known(value: Any) -> Any:  # noqa: ANN401
    return None if isinstance(value, float) and math.isnan(value) else value


__all__ = ["build_report", "evaluation_numbers", "failed_evaluation", "print_report", "return_text"]
