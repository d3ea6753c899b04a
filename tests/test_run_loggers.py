from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lawm.run_loggers import MetricsCSV, OffsetTensorBoardLogger, last_values


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path, *logged, resume_step=None):
    table = MetricsCSV(path, resume_step)
    for step, metrics in logged:
        table.log_metrics(metrics, step)
    table.finalize("success")


def test_one_row_per_step_and_one_column_per_metric(tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (1, {"a": 1.0}), (1, {"b": 2.0}), (2, {"a": 3.0}), (3, {"c": 4.0}))
    assert rows(path) == [
        {"step": "1", "a": "1.0", "b": "2.0", "c": ""},
        {"step": "2", "a": "3.0", "b": "", "c": ""},
        {"step": "3", "a": "", "b": "", "c": "4.0"},
    ]


def test_a_resumed_table_keeps_the_rows_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (5, {"a": 1.0}), (10, {"a": 2.0}), (15, {"a": 3.0}))
    write_table(path, (15, {"a": 4.0, "b": 5.0}), resume_step=10)
    assert [(row["step"], row["a"], row["b"]) for row in rows(path)] == [
        ("5", "1.0", ""),
        ("10", "2.0", ""),
        ("15", "4.0", "5.0"),
    ]


def test_a_new_table_drops_what_was_there(tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (5, {"a": 1.0}))
    write_table(path, (1, {"b": 1.0}))
    assert rows(path) == [{"step": "1", "b": "1.0"}]


@pytest.mark.parametrize("part", ["1", "15", "15,", "15,3.0"])
def test_a_row_that_was_written_in_part_is_dropped(part, tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (5, {"a": 1.0}), (10, {"a": 2.0}))
    path.write_text(path.read_text() + part)
    write_table(path, (15, {"a": 4.0}), resume_step=10)
    assert [(row["step"], row["a"]) for row in rows(path)] == [
        ("5", "1.0"),
        ("10", "2.0"),
        ("15", "4.0"),
    ]


def test_a_saved_row_may_grow_still(tmp_path):
    path = tmp_path / "metrics.csv"
    table = MetricsCSV(path)
    table.log_metrics({"a": 1.0}, 5)
    table.save()
    assert rows(path) == [{"step": "5", "a": "1.0"}]
    table.log_metrics({"b": 2.0}, 5)
    table.save()
    table.save()
    assert rows(path) == [{"step": "5", "a": "1.0", "b": "2.0"}]


def test_a_row_of_before_a_resume_may_grow(tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (5, {"a": 1.0}), (10, {"a": 2.0}))
    write_table(path, (10, {"b": 3.0}), (15, {"a": 4.0}), resume_step=10)
    assert [(row["step"], row["a"], row["b"]) for row in rows(path)] == [
        ("5", "1.0", ""),
        ("10", "2.0", "3.0"),
        ("15", "4.0", ""),
    ]


def test_the_last_value_of_each_column(tmp_path):
    path = tmp_path / "metrics.csv"
    write_table(path, (1, {"a": 1.0, "b": 2.0}), (2, {"a": 3.0}))
    assert last_values(path) == {"a": 3.0, "b": 2.0}
    assert last_values(tmp_path / "none.csv") == {}


def events_of(folder, tag):
    scalars = EventAccumulator(str(folder)).Reload().Scalars(tag)
    return [(event.step, event.value) for event in scalars]


def test_steps_are_shifted_however_they_are_added(tmp_path):
    logger = OffsetTensorBoardLogger(tmp_path, offset=100)
    logger.log_metrics({"logged": 1.0}, 5)
    logger.experiment.add_scalar("added", 2.0, 6)
    logger.finalize("success")
    assert events_of(tmp_path, "logged") == [(105, 1.0)]
    assert events_of(tmp_path, "added") == [(106, 2.0)]


@pytest.mark.parametrize("offset", [0, 100])
def test_a_resumed_run_voids_the_events_beyond_its_checkpoint(offset, tmp_path):
    first = OffsetTensorBoardLogger(tmp_path, offset)
    for step in (5, 10, 15):
        first.log_metrics({"a": 1.0}, step)
    first.finalize("failed")
    second = OffsetTensorBoardLogger(tmp_path, offset, resume_step=10)
    second.log_metrics({"a": 2.0}, 15)
    second.finalize("success")
    assert events_of(tmp_path, "a") == [
        (offset + 5, 1.0),
        (offset + 10, 1.0),
        (offset + 15, 2.0),
    ]


def test_a_stage_that_begins_anew_voids_its_events_alone(tmp_path):
    """Killed before its first checkpoint, stage 2 starts again after a stage 1 of 10 steps."""
    for offset, steps in ((0, (5, 10)), (10, (3,)), (10, (3, 6))):
        logger = OffsetTensorBoardLogger(tmp_path, offset)
        for step in steps:
            logger.log_metrics({"a": float(len(steps))}, step)
        logger.finalize("failed")
    assert events_of(tmp_path, "a") == [(5, 2.0), (10, 2.0), (13, 2.0), (16, 2.0)]


def test_a_followed_trainer_tells_the_step(tmp_path):
    trainer = SimpleNamespace(global_step=7)
    logger, table = OffsetTensorBoardLogger(tmp_path, 10), MetricsCSV(tmp_path / "metrics.csv")
    for each in (logger, table):
        each.follow(trainer)
        each.log_metrics({"a": 1.0}, step=6)  # as Lightning counts
        each.finalize("success")
    assert events_of(tmp_path, "a") == [(17, 1.0)]
    assert rows(tmp_path / "metrics.csv") == [{"step": "7", "a": "1.0"}]
