"""The runs of a grid: their order, what is finished and what is stale."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from grid_factory import TENTH, grid, row, write_report

from lawm.benchmarks.grid_folder import GridFolder, RunRecord
from lawm.benchmarks.label_grid import METHODS, budget_name, hash_config, parse_run_name
from lawm.benchmarks.label_plan import estimated_hours, make_plan, plan_table, remaining_hours
from lawm.errors import LawmError

RECORD = RunRecord("h", "c0ffee", "0.1.0", "a processor", "lawm fit")
CONFIG = {
    "name": "a",
    "seed": 0,
    "compile": "auto",
    "method": "latent_action",
    "pseudo_labels": False,
    "data": {"shards": ["x.h5"], "window": 32, "labelled_ratio": 0.5},
    "inverse_dynamics": {"learning_rate": 1e-3},
    "policy": {"horizon": 15},
    "cloning": {"learning_rate": 1e-3},
    "stages": {name: {"max_steps": 9} for name in ("inverse_dynamics", "world_model", "policy")},
}


def test_the_oracle_has_one_run_a_seed_and_the_others_one_a_budget():
    runs = grid(methods=METHODS, seeds=(0, 1, 2))
    assert len(runs) == 2 * 3 * (1 + 2 * (len(METHODS) - 1))
    assert len({run.key for run in runs}) == len({run.label for run in runs}) == len(runs)
    assert {run.fraction for run in runs if run.method == "oracle"} == {Fraction(1)}


def test_every_beginning_of_the_order_is_a_table():
    runs = grid(methods=("bc", "oracle", "lawm"))
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds), "seed by seed"
    first = [run for run in runs if run.seed == 0]
    assert [(run.method, run.task.name) for run in first[:2]] == [
        ("oracle", "cheetah"),
        ("oracle", "walker"),
    ]
    assert [run.fraction for run in first[2:]] == [Fraction(1, 50)] * 4 + [TENTH] * 4
    cells = {(run.method, run.task.name) for run in first[2:6]}
    assert cells == {(m, t) for m in ("bc", "lawm") for t in ("cheetah", "walker")}


def test_a_run_is_a_command():
    run = next(run for run in grid() if run.method == "lawm" and run.seed == 1)
    assert run.command() == (
        "lawm fit --config conf/cheetah.yaml --seed 1 --data.label_seed 1 --data.labels 2%"
    )
    assert run.label == "cheetah/lawm-2pct-1"
    assert "--data.labels" not in grid()[0].arguments(), "the oracle's budget is in its preset"


@pytest.mark.parametrize(("share", "name"), [("0.1", "10pct"), ("0.025", "2.5pct"), ("1", "all")])
def test_budgets_have_names(share, name):
    assert budget_name(Fraction(share)) == name


def test_the_name_of_a_run_tells_its_cell():
    for run in grid(methods=METHODS, fractions=(Fraction("0.025"), TENTH)):
        assert parse_run_name(run.name) == (run.method, float(run.fraction), run.seed)
        assert parse_run_name(f"{run.name}.stale-1") is None
    assert parse_run_name("plan") is None


def test_the_hash_tells_what_decides_a_result_and_nothing_else():
    def digest(
        fraction=TENTH,
        sums=(("a",), ()),
        data=None,
        model=None,
        options=None,
        images=False,
        all_have_actions=True,
        **changes,
    ):
        config = {**CONFIG, **changes, "data": {**CONFIG["data"], **(data or {})}}
        config["world_model"] = {
            "learning_rate": 1e-3,
            "model": {"deter": 8, **(model or {})},
            "options": {"free_nats": 0.5, **(options or {})},
        }
        return hash_config(config, fraction, sums, images=images, all_have_actions=all_have_actions)

    same = digest()
    assert digest(seed=1, name="b", compile="off") == same
    assert digest(data={"shards": ["moved/x.h5"], "labels": "2%", "label_seed": 3}) == same
    assert digest(policy_seed=None) == same
    watched = {name: {**stage, "callbacks": None} for name, stage in CONFIG["stages"].items()}
    assert digest(stages=watched) == same, "who watches changes nothing"
    assert digest(model={"image_depth": 32}) == same, "of states it decides nothing"
    assert digest(model={"free_running_share": 0.0}) == same, "as before there was such a setting"
    older = {"horizon": 15, "advantage_temperature": None, "advantage_updates": 1500}
    assert digest(policy=older) == same
    assert digest(policy={**older, "advantage_updates": 20}) == same, "it is off"
    on = {**older, "advantage_temperature": 0.5}
    others = [
        digest(policy=on),
        digest(policy={**on, "advantage_updates": 20}),
        digest(images=True, model={"image_depth": 16}),
        digest(images=True, model={"image_depth": 32}),
        digest(model={"deter": 9}),
        digest(model={"free_running_share": 0.5}),
        digest(options={"share_weights": True}),
        digest(fraction=Fraction(1, 50)),
        digest(sums=(("b",), ())),
        digest(sums=((), ("a",))),
        digest(data={"window": 16}),
        digest(data={"labelled_ratio": 0.25}),
        digest(policy={"horizon": 5}),
        digest(policy_seed=1),
    ]
    assert len({same, *others}) == 15

    full = digest(fraction=Fraction(1))
    assert digest(fraction=Fraction(1), data={"labelled_ratio": 0.25}) == full, "all are labelled"
    mixed = [
        digest(fraction=Fraction(1), data={"labelled_ratio": ratio}, all_have_actions=False)
        for ratio in (0.25, 0.75)
    ]
    assert len({full, *mixed}) == 3


@pytest.mark.parametrize(
    ("fraction", "changes"),
    [
        (Fraction(1), {}),
        (TENTH, {"pseudo_labels": True}),
        (TENTH, {"data": {**CONFIG["data"], "labelled_ratio": 1.0}}),
    ],
)
def test_the_hash_leaves_out_how_two_kinds_of_rows_are_weighed_where_there_is_one(
    fraction, changes
):
    def digest(**options):
        model = {"learning_rate": 1e-3, "model": {"deter": 8}, "options": options}
        config = {**CONFIG, **changes, "world_model": model}
        return hash_config(config, fraction, (("a",), ()), images=False, all_have_actions=True)

    assert digest() == digest(share_weights=False) == digest(share_weights=True)


def test_the_hash_leaves_out_what_the_method_does_not_run():
    """So that a change of one stage makes no row stale that it had no part in."""

    def digest(method, labelled_by, section=None, stage=None):
        config = {**CONFIG, "method": method, "pseudo_labels": labelled_by}
        config["world_model"] = {"learning_rate": 1e-3, "model": {"deter": 8}, "options": {}}
        if section:
            config[section] = {**config[section], "learning_rate": 1.0}
        if stage:
            config["stages"] = {**config["stages"], stage: {"max_steps": 1}}
        return hash_config(config, TENTH, (("a",), ()), images=False, all_have_actions=True)

    def reads(method, labelled_by):
        sections = ("inverse_dynamics", "world_model", "policy", "cloning")
        stages = ("inverse_dynamics", "world_model", "policy")
        same = digest(method, labelled_by)
        return (
            [name for name in sections if digest(method, labelled_by, section=name) != same],
            [name for name in stages if digest(method, labelled_by, stage=name) != same],
        )

    assert reads("latent_action", False) == (["world_model", "policy"], ["world_model", "policy"])
    assert reads("latent_action", True) == (
        ["inverse_dynamics", "world_model", "policy"],
        ["inverse_dynamics", "world_model", "policy"],
    )
    assert reads("behaviour_cloning", False) == (["cloning"], ["policy"])
    assert reads("behaviour_cloning", True) == (
        ["inverse_dynamics", "cloning"],
        ["inverse_dynamics", "policy"],
    )


def test_states_of_runs(tmp_path):
    folder = GridFolder(tmp_path)
    runs = grid(tasks=("cheetah",), methods=("lawm",), fractions=(TENTH,), seeds=range(5))
    new, begun, finished, stale, unknown = runs
    for run, kind in (
        (begun, RECORD),
        (finished, RECORD),
        (stale, replace(RECORD, config_hash="x")),
    ):
        write_report(folder.run(run).path)
        folder.write_record(run, kind)
    folder.run(begun).report_file.unlink()
    write_report(folder.run(unknown).path)
    states = [folder.state(run) for run in runs]
    assert states == ["new", "begun", "finished", "stale", "stale"]
    assert folder.row(finished).config_hash == "h"

    plan = make_plan(runs, folder, {}, rerun_stale=False)
    assert (plan.todo, plan.stale) == ([new, begun], [stale, unknown])
    assert make_plan(runs, folder, {}, rerun_stale=True).todo == [new, begun, stale, unknown]
    assert set(plan.rows) == {finished.key}


def test_rows_of_the_file_count_without_their_folders_unless_they_are_stale(tmp_path):
    here, elsewhere = grid(tasks=("cheetah",), methods=("lawm",), fractions=(TENTH,))
    written = {here.key: row(), elsewhere.key: row(seed=1, config_hash="old")}
    plan = make_plan([here, elsewhere], GridFolder(tmp_path), written, rerun_stale=False)
    assert plan.rows == {here.key: row()}
    assert (plan.stale, plan.todo) == ([elsewhere], [])


def test_a_stale_run_is_moved_and_not_deleted(tmp_path):
    folder, run = GridFolder(tmp_path), grid()[0]
    for number in (1, 2):
        write_report(folder.run(run).path, final=number)
        folder.write_record(run, replace(RECORD, config_hash=f"old {number}"))
        aside = folder.set_aside(run)
        assert aside.name == f"{run.name}.stale-{number}"
        assert (
            json.loads((aside / "report.json").read_text())["evaluation"]["final"]["mean"] == number
        )
        assert "old" in aside.with_name(f"{aside.name}.json").read_text()
        assert folder.state(run) == "new"
        assert folder.record(run) is None


def test_an_output_folder_belongs_to_one_plan(tmp_path):
    folder = GridFolder(tmp_path / "grid")
    folder.claim({"cheetah": "conf/cheetah.yaml"}, ["policy.horizon=5"], change=False)
    folder.claim({"walker": "conf/walker.yaml"}, ["policy.horizon=5"], change=False)
    with pytest.raises(
        LawmError, match=r"another plan: its runs have the settings policy.horizon=5"
    ):
        folder.claim({"walker": "conf/walker.yaml"}, [], change=False)
    with pytest.raises(LawmError, match=r"its task cheetah is conf/cheetah.yaml, this one mine"):
        folder.claim({"cheetah": "mine/cheetah.yaml"}, ["policy.horizon=5"], change=False)
    folder.claim({"walker": "conf/walker.yaml"}, [], change=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("...")
    with pytest.raises(LawmError, match="overwrites nothing"):
        GridFolder(tmp_path / "letters").claim({}, [], change=True)


def test_hours_are_those_of_the_runs_most_alike():
    run = grid()[0]
    rows = [row("lawm", hours=9.0, task="walker"), row("oracle", hours=None)]
    assert estimated_hours(run, []) is None
    assert estimated_hours(run, rows) == 9.0
    rows.append(row("bc", hours=0.1))
    assert estimated_hours(run, rows) == 9.0, "cloning trains no world model"
    rows.append(row("pseudo_label", hours=5.0))
    assert estimated_hours(run, rows) == 5.0, "the task is the same"
    rows.append(row("oracle", hours=3.0, task="walker"))
    assert estimated_hours(run, rows) == 3.0, "the method is the same"
    rows += [row("oracle", hours=1.0), row("oracle", hours=2.0, seed=1)]
    assert estimated_hours(run, rows) == 1.5

    assert remaining_hours(grid()[:3], rows, jobs=1) == pytest.approx(1.5 + 3.0 + 9.0)
    assert remaining_hours(grid()[:3], rows, jobs=3) == 9.0, "no run is cut in two"
    assert remaining_hours(grid(), [], jobs=2) is None
    assert remaining_hours([], [], jobs=2) == 0.0


def test_the_plan_says_when_it_does_not_know(tmp_path):
    plan = make_plan(grid(), GridFolder(tmp_path), {}, rerun_stale=False)
    assert "not known" in plan_table(plan, [], 2).caption
    known = plan_table(plan, [row(hours=1.0)], 2)
    assert known.caption.startswith("About 10.0 hours with 2 at a time")
    assert known.title == "20 runs, 20 to do, 2 at a time"
