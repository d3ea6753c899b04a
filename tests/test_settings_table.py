"""Settings beside the defaults, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_factory import row

from lawm.benchmarks.grid_rows import read_rows, write_rows
from lawm.benchmarks.settings_table import main, settings_table
from lawm.errors import LawmError


def grid(walker=(300.0, 500.0), cheetah=100.0):
    """Two seeds of walker and one of cheetah."""
    rows = [row("lawm", value, task="walker", seed=seed) for seed, value in enumerate(walker)]
    return [*rows, row("lawm", cheetah, task="cheetah", action_r2=None)]


def oracles():
    """Walker's earn 1,000 in the mean, cheetah's 200."""
    of_walker = [row("oracle", r, task="walker", seed=s) for s, r in enumerate((900.0, 1100.0))]
    return [*of_walker, row("oracle", 200.0, task="cheetah")]


def test_a_line_compares_the_same_runs_alone():
    defaults = [*oracles(), *grid(), row("lawm", 9000.0, task="walker", seed=5)]
    text = settings_table(defaults, {"wide": grid((500.0, 700.0), 150.0), "one": grid()[:1]})
    head, _, wide, one = text.splitlines()
    assert head == "|  | walker | cheetah | of the oracle | R² | runs |"
    cells = [cell.strip() for cell in wide.strip("|").split("|")]
    assert cells[:4] == ["wide", "600 (400)", "150 (100)", "0.65 (0.43)"]
    assert cells[-1] == "3"
    cells = [cell.strip() for cell in one.strip("|").split("|")]
    assert cells[1:4] == ["300 (300)", "", "0.30 (0.30)"]
    assert cells[-1] == "1"


def test_what_cannot_be_compared_is_a_sentence():
    with pytest.raises(LawmError, match="far: no run of the same task, data, method, budget"):
        settings_table([*oracles(), *grid()], {"far": [row("lawm", 1.0, task="walker", seed=9)]})
    with pytest.raises(LawmError, match=r"no oracle of cheetah on .* with a return above 0"):
        settings_table([*oracles()[:2], *grid()], {"all": grid()})


def test_the_command_prints_a_line_a_file(tmp_path, capsys):
    write_rows(tmp_path / "grid.csv", [*oracles(), *grid()])
    write_rows(tmp_path / "horizon_8.csv", grid())
    main([str(tmp_path / "grid.csv"), str(tmp_path / "horizon_8.csv")])
    assert "| horizon_8 | 100 (100) | 400 (400) |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^lawm: .*none\.csv does not exist"):
        main([str(tmp_path / "grid.csv"), str(tmp_path / "none.csv")])


def test_the_pages_show_what_the_committed_rows_say():
    root = Path(__file__).parents[1]
    pages = ("world-model-experiments.md", "policy-experiments.md")
    text = "".join((root / "docs" / page).read_text() for page in pages)
    defaults = read_rows(root / "results" / "earlier" / "stage_1_prior.csv")
    files = sorted((root / "results" / "settings").glob("*.csv"))
    assert files
    table = settings_table(defaults, {file.stem: read_rows(file) for file in files})
    assert [line for line in table.splitlines() if line not in text.splitlines()] == []
