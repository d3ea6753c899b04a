"""The comparison behind the kill test sees every kind of difference."""

from __future__ import annotations

import shutil

import pytest
import torch
from run_comparison import run_differences

from lawm.checkpoint_file import read_checkpoint, write_checkpoint
from lawm.run_folder import RunFolder


@pytest.fixture
def copy(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "copy")


def change_checkpoint(run, change):
    path = RunFolder(run).stage("policy").last_checkpoint
    checkpoint = read_checkpoint(path)
    change(checkpoint)
    write_checkpoint(checkpoint, path)


def weight(checkpoint):
    name, value = next(iter(checkpoint["state_dict"].items()))
    checkpoint["state_dict"][name] = torch.nextafter(value, value + 1)


def moment(checkpoint):
    checkpoint["optimizer_states"][0]["state"][0]["exp_avg"][0] += 1e-9


def random_state(checkpoint):
    checkpoint["random_states"]["cpu"][0, 100] ^= 1


def position(checkpoint):
    checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["global"] += 1


def test_a_copy_is_equal(finished_run, copy):
    assert run_differences(finished_run, copy) == []


@pytest.mark.parametrize("change", [weight, moment, random_state, position])
def test_a_change_of_one_number_in_a_checkpoint_is_named(change, finished_run, copy):
    change_checkpoint(copy, change)
    (line,) = run_differences(finished_run, copy)
    assert line.startswith("policy/last.ckpt/")


@pytest.mark.parametrize("table", ["world_model/metrics.csv", "policy/metrics.csv"])
def test_a_missing_or_changed_cell_of_a_table_is_named(table, finished_run, copy):
    lines = (copy / table).read_text().splitlines(keepends=True)
    (copy / table).write_text("".join(lines[:-1]))
    assert f"{table} has {len(lines) - 2} entries" in run_differences(finished_run, copy)[0]
    first = next(i for i, name in enumerate(lines[0].split(",")) if "loss" in name)
    cells = lines[1].split(",")
    cells[first] += "1"
    (copy / table).write_text("".join([lines[0], ",".join(cells), *lines[2:]]))
    assert run_differences(finished_run, copy)[0].startswith(f"{table}/0/")


def test_a_missing_evaluation_is_named(finished_run, copy):
    text = (copy / "evaluation.csv").read_text().splitlines(keepends=True)
    (copy / "evaluation.csv").write_text("".join(text[:-1]))
    assert run_differences(finished_run, copy) == ["evaluation.csv has 1 entries, expected 2"]
