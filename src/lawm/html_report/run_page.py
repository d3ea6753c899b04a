"""The page of one run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lawm.html_report.latent_action_figures import panel_figure, rates_figure
from lawm.html_report.page_file import render
from lawm.html_report.panel_table import panel_rows, panel_verdict
from lawm.html_report.pictures import Budget, Embedded, embed_picture, newest_pictures, videos_in
from lawm.html_report.return_figures import promise_figure, return_figure
from lawm.html_report.run_command import run_command
from lawm.html_report.run_files import FileReader, part
from lawm.html_report.run_record import EvaluationRow, RunRecord, read_run
from lawm.html_report.training_figures import (
    other_figure,
    policy_figure,
    throughput_figure,
    world_model_figure,
)
from lawm.return_number import return_number
from lawm.run_folder import RunFolder

_CAPTIONS = {
    "open_loop": (
        "Above: error of open-loop prediction on held-out trajectories against steps ahead. Good: "
        "the lines of the inferred and the true actions lie together, far below the shuffled ones "
        "and the copy of the last frame. Below: prediction against truth (grey) for the liveliest "
        "dimensions of the first trajectory. Good: the lines follow the truth far to the right; "
        "bad: they leave it within a few steps, or run flat."
    ),
    "latent_action_kl": "What each dimension of the latent action carries, in nats a step.",
}


def run_page(path: Path) -> str:
    """The page as HTML.

    Args:
        path: The run folder.

    Raises:
        LawmError: It is no run folder, or a link in it leads out of it.
    """
    run = read_run(path)
    budget = Budget()
    pictures = _pictures(run, budget)
    verdict, reason = panel_verdict(run.panel)
    figures = {
        "returns": return_figure(run),
        "promise": promise_figure(run),
        "rates": rates_figure(run),
        "panel_curves": panel_figure(run),
        "world_model": world_model_figure(run),
        "policy": policy_figure(run),
        "throughput": throughput_figure(run),
        "other": other_figure(run),
    }
    return render(
        "run.html",
        {
            "title": run.name,
            "wide": False,
            "run": run,
            "key_figures": key_figures(run),
            "verdict": verdict,
            "reason": reason,
            "panel_rows": panel_rows(run.panel) if run.panel else [],
            "figures": figures,
            "pictures": pictures,
            "videos": videos_in(path, budget),
            "left_out": budget.left_out,
            "failed": [row for row in run.evaluations if row.mean is None],
            "commands": commands(run),
            "origin": origin(run.starts[-1]) if run.starts else [],
            "numbers": {
                stage.name: sorted(stage.newest.items())
                for stage in run.stages.values()
                if stage.newest
            },
        },
    )


def key_figures(run: RunRecord) -> list[tuple[str, str, str]]:
    """Name, number and small print of what is looked at first."""
    found = []
    final, best = run.final, run.best
    if final is not None and final.mean is not None:
        found.append(("return, final policy", _mean(final), _spread(final)))
    elif final is not None:
        found.append(("return, final policy", "not measured", "the evaluation failed, see below"))
    elif run.measured:
        newest = run.measured[-1]
        text = f"{_spread(newest)}; no final evaluation yet"
        found.append(("return, newest", _mean(newest), text))
    if run.selected is not None and run.selected.mean is not None:
        text = _spread(run.selected)
        found.append(("return, policy selected offline", _mean(run.selected), text))
    if best is not None:
        found.append(("return, best along the run", _mean(best), _spread(best)))
    if run.data_mean is not None and run.data_best is not None:
        text = f"best episode {return_number(run.data_best)}"
        found.append(("return of the data, mean", return_number(run.data_mean), text))
    if run.action_r2 is not None:
        found.append(("held-out R² of the action", f"{run.action_r2:.2f}", "from the frames alone"))
    return found


def commands(run: RunRecord) -> list[tuple[str, str]]:
    """What each does, and how it is typed."""
    folder, found = RunFolder(run.path), []
    for index, start in enumerate(run.starts):
        text, where = start.get("command"), start.get("working_folder")
        if isinstance(text, str):
            place = f", in {where}" if isinstance(where, str) else ""
            what = "This run was started with" if index == 0 else "and resumed with"
            found.append((what + place, text))
    config = ("--config", folder.config_file)
    again = run_command(run.starts, "lawm", "fit", *config, "--run_dir", "NEW_FOLDER")
    found.append(("The same run again, in a new folder", again))
    if not run.status.is_whole:
        resume = run_command(run.starts, "lawm", "fit", "--resume", run.path)
        found.append(("Go on with it", resume))
    if run.stages["policy"].progress.has_checkpoint:
        measure = run_command(run.starts, "lawm", "evaluate", run.path)
        found.append(("Measure the policy again", measure))
    logs = shlex.join(["tensorboard", "--logdir", str(folder.tensorboard)])
    found.append(("All numbers along the run", logs))
    return found


def _mean(row: EvaluationRow) -> str:
    return "not measured" if row.mean is None else return_number(row.mean)


def _spread(row: EvaluationRow) -> str:
    episodes = f"over {len(row.returns)} episodes, "
    spread = "" if row.std is None else f"± {return_number(row.std)} {episodes}"
    normalised = (
        ""
        if row.normalised is None
        else f"; {row.normalised:.2f} of the way from the data's mean to its best"
    )
    return f"{spread}update {row.step:,}{normalised}"


def _pictures(run: RunRecord, budget: Budget) -> list[tuple[Embedded, str]]:
    """The pictures of TensorBoard with their captions; open-loop prediction first."""
    files = FileReader(run.path, run.damaged)
    found = newest_pictures(files, RunFolder(run.path).tensorboard)
    # what panel.json holds is drawn anew
    found = [p for p in found if not (p.tag == "latent_action_kl" and run.panel)]
    found.sort(key=lambda picture: (not picture.tag.startswith("open_loop"), picture.tag))
    return [
        (
            embed_picture(
                picture.tag, picture.content, f"{picture.tag}, step {picture.step:,}", budget
            ),
            _CAPTIONS.get(picture.tag, "As a callback drew it; TensorBoard has the earlier ones."),
        )
        for picture in found
    ]


def origin(start: dict[str, Any]) -> list[tuple[str, str]]:
    """What a start ran on, by name; what is unknown is left out."""
    machine, packages = part(start, "machine"), part(start, "packages")
    gpus = machine.get("gpus")
    names = ("processor", "cores", "system", "host")
    known = {
        "started": start.get("time"),
        "lawm": start.get("lawm"),
        "commit": start.get("commit") or "unknown: not run from a git checkout",
        "python": start.get("python"),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "threads": start.get("threads"),
        "GPUs": ", ".join(str(gpu) for gpu in gpus) if isinstance(gpus, list) else "",
        **{name: machine.get(name) for name in names},
    }
    return [(name, str(value)) for name, value in known.items() if value]


__all__ = ["commands", "key_figures", "origin", "run_page"]
