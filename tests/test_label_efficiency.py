"""Interquartile means, their intervals, and what table and plot show of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from grid_factory import row

from lawm.benchmarks.interquartile_mean import estimate, interquartile_mean
from lawm.benchmarks.label_efficiency import label_efficiency
from lawm.benchmarks.label_efficiency_plot import COLOURS, draw, save
from lawm.benchmarks.label_efficiency_tables import markdown, terminal_tables
from lawm.benchmarks.label_grid import METHODS


def curves(seeds=3, tasks=("cheetah", "walker"), methods=METHODS):
    """Rows of a whole grid: the oracle earns 400, the others less with fewer labels."""
    rows = []
    for task, seed in itertools.product(tasks, range(seeds)):
        for rank, method in enumerate(methods):
            budgets = [(1.0, 76000)] if method == "oracle" else [(0.02, 1500), (0.1, 7500)]
            for fraction, transitions in budgets:
                value = 400.0 * (1 - 0.1 * rank) * fraction**0.1 + 5 * (seed - 1)
                rows.append(
                    row(
                        method,
                        value,
                        task=task,
                        data=f"{task}_replay",
                        labelled_fraction=fraction,
                        labelled_transitions=transitions,
                        seed=seed,
                    )
                )
    return rows


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5.0),
        ([1.0, 2.0, 9.0], 4.0),  # a quarter of three is none
        ([0.0, 1.0, 3.0, 100.0], 2.0),
        ([-50.0, 0.0, 1.0, 2.0, 3.0, 4.0, 90.0, 99.0], 2.5),
        ([-9.0, 1.0, 2.0, 3.0, 99.0], 2.0),  # a quarter of five is one
    ],
)
def test_interquartile_means_by_hand(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)
    assert interquartile_mean(values[::-1]) == pytest.approx(expected)


def test_the_interval_of_two_runs_by_hand():
    """Two of {0, 1} with replacement: 0 and 1 a quarter of the time each, 0.5 half of it."""
    found = estimate([[0.0, 1.0]])
    assert (found.value, found.low, found.high, found.num_runs) == (0.5, 0.0, 1.0, 2)


def test_the_interval_holds_the_mean_and_no_order_matters():
    rng = np.random.default_rng(0)
    strata = [
        np.concatenate([half, -half]) + 3.0
        for half in rng.normal(size=(4, 3)) * [[1], [2], [1], [3]]
    ]
    found = estimate(strata)
    assert found.value == pytest.approx(3.0)
    assert found.low < found.value < found.high
    shuffled = [rng.permutation(stratum) for stratum in strata]
    assert estimate([shuffled[i] for i in (2, 0, 3, 1)]) == found
    moved = estimate([2.0 * stratum + 1.0 for stratum in strata])
    assert (moved.value, moved.low, moved.high) == pytest.approx(
        (2 * found.value + 1, 2 * found.low + 1, 2 * found.high + 1)
    )


def test_the_interval_narrows_with_runs():
    rng = np.random.default_rng(0)
    few, many = (estimate(rng.normal(size=(3, count))) for count in (4, 64))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_runs_are_drawn_within_their_task():
    """Tasks far apart with runs alike: nothing varies."""
    found = estimate([[1.0, 1.0, 1.0], [7.0, 7.0, 7.0]])
    assert found.low == found.value == found.high == 4.0


@pytest.mark.parametrize("strata", [[[3.0]], [[3.0], [1.0]], [[1.0, 2.0, 3.0], [5.0]]])
def test_a_task_with_one_run_has_no_interval(strata):
    found = estimate(strata)
    assert found.low is found.high is None
    assert found.num_runs == sum(map(len, strata))


def test_returns_are_relative_to_the_oracle_of_the_same_task_and_data():
    rows = [
        *(row("oracle", value, seed=seed) for seed, value in enumerate((300.0, 400.0, 500.0))),
        *(row("lawm", value, seed=seed) for seed, value in enumerate((200.0, 360.0))),
        *(row("oracle", 800.0, data="expert", seed=seed) for seed in (0, 1)),
        *(row("lawm", 400.0, data="expert", seed=seed) for seed in (0, 1)),
    ]
    found = label_efficiency(rows)
    lawm = next(cell for cell in found.overall if cell.method == "lawm")
    assert lawm.final.value == pytest.approx(0.5), "of 0.5, 0.5, 0.5 and 0.9 the middle two"
    assert (lawm.tasks, lawm.final.num_runs) == (2, 4)
    assert found.tasks["cheetah", "cheetah_replay"][0].final.value == pytest.approx(400.0)
    assert not found.remarks
    assert label_efficiency(rows[::-1]).overall == found.overall


def test_what_cannot_be_compared_is_told():
    rows = [
        row("oracle", 400.0),
        row("lawm", 200.0),
        row("oracle", 400.0, task="walker"),
        row("lawm", 100.0, task="finger"),
        row("oracle", 0.0, task="hopper"),
        row("lawm", None, task="walker"),
        row("lawm", 210.0, seed=1, config_hash="other"),
    ]
    found = label_efficiency(rows)
    text = " ".join(found.remarks)
    assert "1 run(s) have no final return" in text
    assert "No oracle to compare with" in text
    assert "finger, hopper" in text
    assert "fewer than 2 tasks, do not compare: lawm 0.1 (1)" in text
    assert "single run" in text
    assert "different configurations in one cell: cheetah lawm 0.1" in text
    assert found.overall_tasks == [("cheetah", "cheetah_replay"), ("walker", "cheetah_replay")]


def test_tables_have_a_line_a_cell():
    result = label_efficiency(curves())
    page = markdown(result)
    overall = page.split("**Return, cheetah**")[0]
    assert overall.count("\n| ") == 1 + 1 + 2 * (len(METHODS) - 1)
    assert "| oracle | 100% | 76,000 | 6 | 1.00 [" in overall
    assert page.count("**Return") == 3
    single = markdown(label_efficiency(curves(seeds=1)))
    assert "[" not in single.replace("[0, 1]", ""), "one seed, no interval"
    assert "No interval where a task has a single run" in single
    assert all(table.row_count == 13 for table in terminal_tables(result))


def test_the_plot_shows_every_method_on_every_panel():
    result = label_efficiency(curves())
    figure = draw(result)
    overall, *small = figure.axes
    assert len(small) == 2
    assert [axis.get_title() for axis in small] == ["cheetah", "walker"]
    assert overall.get_title() == "2 tasks, IQM and 95 % interval"
    assert draw(label_efficiency(curves(seeds=1))).axes[0].get_title() == "2 tasks, IQM"
    assert overall.get_ylabel() == "return / oracle's return"
    for axis in figure.axes:
        assert axis.get_xlabel() == "labelled transitions"
        assert axis.get_xscale() == "log"
        lines = {line.get_label(): line for line in axis.lines if line.get_label() in METHODS}
        assert lines.keys() == set(METHODS)
        assert [text.get_text() for text in axis.get_xticklabels()] == [
            "1,500\n2 %",
            "7,500\n10 %",
        ]
        assert {line.get_color() for line in lines.values()} == set(COLOURS.values())
    cells = [cell for cell in result.overall if cell.method == "lawm"]
    lawm = next(line for line in overall.lines if line.get_label() == "lawm")
    assert list(lawm.get_ydata()) == [cell.final.value for cell in cells]
    oracle = next(line for line in overall.lines if line.get_label() == "oracle")
    assert set(oracle.get_ydata()) == {1.0}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [method.replace("_", " ") for method in METHODS]


def test_one_seed_draws_no_interval():
    def bars(seeds):
        axis = draw(label_efficiency(curves(seeds, ("cheetah",), ("oracle", "lawm")))).axes[0]
        return sum(line.get_label() not in METHODS for line in axis.lines), len(axis.patches)

    assert bars(1) == (0, 0)
    assert bars(3) == (2, 1)


@pytest.mark.parametrize("tasks", [("walker",), ("cheetah", "walker")])
def test_the_legend_lies_within_the_figure(tasks):
    methods = tuple(method for method in METHODS if method != "oracle")
    figure = draw(label_efficiency(curves(tasks=tasks, methods=methods)))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    width, height = figure.bbox.size
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height


def test_without_an_oracle_there_are_the_tasks_alone(tmp_path):
    result = label_efficiency(curves(methods=("lawm", "bc")))
    assert result.overall == []
    assert [axis.get_ylabel() for axis in draw(result).axes] == ["return", ""]


def test_rows_that_do_not_tell_their_labels_are_not_drawn(tmp_path):
    unknown = [row(labelled_transitions=None), row("oracle", labelled_transitions=None)]
    assert save(label_efficiency(unknown), tmp_path / "none") == []
    assert save(label_efficiency([row("oracle")]), tmp_path / "none") == []
    assert list(tmp_path.iterdir()) == []
