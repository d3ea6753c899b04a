from __future__ import annotations

import io
import math
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from lawm.callbacks.progress import StageProgress, logged

TITLES = ["Stage 1 of 2, world model", "Stage 2 of 2, policy"]


class Metrics(dict):
    """Counts how often it is read."""

    reads = 0

    def get(self, name, default=None):
        self.reads += 1
        return super().get(name, default)


def run(stage, steps, *, terminal, first=0, is_global_zero=True, **options):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    metrics = Metrics({"loss": torch.tensor(1.5), "return": torch.tensor(math.nan)})
    figures = {"loss": logged("loss"), "return": logged("return"), "R²": logged("absent")}
    progress = StageProgress(TITLES, stage, figures, console=console, **options)
    trainer = SimpleNamespace(
        global_step=first,
        max_steps=steps,
        is_global_zero=is_global_zero,
        callback_metrics=metrics,
    )
    progress.on_train_start(trainer, None)
    while trainer.global_step < steps:
        trainer.global_step += 1
        progress.on_train_batch_end(trainer, None, None, None, 0)
    progress.on_train_end(trainer, None)
    return console.file.getvalue(), metrics


def test_a_log_file_gets_a_line_for_each_tenth():
    text, _ = run(0, 200, terminal=False)
    lines = text.splitlines()
    assert lines[0] == "Stage 1 of 2, world model: 200 steps"
    assert [line.split("step ")[1].split("/")[0] for line in lines[1:]] == [
        str(step) for step in range(20, 201, 20)
    ]
    assert lines[-1].endswith("loss 1.5")  # neither what is NaN nor what is unknown


def test_a_log_file_gets_a_line_when_much_time_has_passed():
    text, _ = run(0, 100, terminal=False, seconds_between_lines=0.0)
    assert len(text.splitlines()) == 101


def test_a_terminal_shows_both_stages():
    text, _ = run(0, 40, terminal=True)
    assert all(title in text for title in TITLES)
    assert "40/40" in text
    assert "loss 1.5" in text


def test_the_second_stage_stands_alone():
    text, _ = run(1, 40, terminal=True)
    assert TITLES[1] in text
    assert TITLES[0] not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_metrics_are_read_only_on_refresh(terminal):
    _, metrics = run(0, 400, terminal=terminal)
    refreshes = 400 // 20 + 1 if terminal else 10
    assert metrics.reads == 3 * refreshes


def test_a_resumed_stage_starts_where_it_is():
    text, _ = run(0, 200, terminal=False, first=190)
    assert [line for line in text.splitlines() if "200/200" in line]
    assert "190/200" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_other_ranks_are_silent(terminal):
    assert run(0, 40, terminal=terminal, is_global_zero=False)[0] == ""


def test_an_exception_closes_the_display():
    console = Console(file=io.StringIO(), force_terminal=True)
    progress = StageProgress(TITLES, 0, {}, console=console)
    trainer = SimpleNamespace(global_step=0, max_steps=5, is_global_zero=True)
    progress.on_train_start(trainer, None)
    progress.on_exception(trainer, None, RuntimeError())
    shown = console.file.getvalue()
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is back
