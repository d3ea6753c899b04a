from __future__ import annotations

import csv
import shutil
from dataclasses import fields

import pytest
import torch
from model_factory import OBS_DIM, VARIANTS, make_batch, make_model
from tiny_runs import CONF

from lawm.batch import EpisodeBatch
from lawm.benchmarks.action_effects import HORIZONS, Row, action_effects, compare, main, spread

EPISODES, STEPS = 3, 40


def make_episodes(lengths=(STEPS,) * EPISODES):
    batch = make_batch(rows=EPISODES, labelled=EPISODES, window=STEPS)
    return EpisodeBatch(
        obs=batch.obs,
        action=batch.action,
        length=torch.tensor(lengths),
        reward=batch.reward,
        has_reward=batch.has_reward,
        terminated=torch.zeros(EPISODES, dtype=torch.bool),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_effect_for_each_start_and_horizon(variant):
    effects = action_effects(make_model(**VARIANTS[variant]).eval(), make_episodes())
    assert [x.shape for x in effects] == [(EPISODES * 4, OBS_DIM)] * len(HORIZONS)
    assert all(x.isfinite().all() and x.abs().max() > 0 for x in effects)


def test_a_model_that_is_deaf_to_actions_knows_no_effect():
    model = make_model().eval()
    weight = model.rssm.transition_layer.linear.weight  # reads z, then the action
    with torch.no_grad():
        weight[:, model.rssm.latent.size :] = 0.0
    assert all((x == 0).all() for x in action_effects(model, make_episodes()))


def test_what_lies_behind_an_episodes_end_is_no_start_and_no_action():
    model, lengths = make_model().eval(), (STEPS, STEPS, 30)
    episodes = make_episodes(lengths)
    effects = action_effects(model, episodes)
    assert len(effects[0]) == 4 + 4 + 2
    episodes.action[2, 30:] = 0.5
    episodes.obs["state"][2, 31:] = 9.0
    for x, y in zip(effects, action_effects(model, episodes), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, (1, 1, 0)), (0.5, (0.5, 1, 0.25))])
def test_effects_that_are_smaller_have_a_smaller_slope(factor, expected):
    reference = torch.randn(50, 4)
    assert compare(factor * reference, [reference]) == pytest.approx(expected, abs=1e-5)


def test_effects_of_other_dimensions_are_errors():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert compare(one, [other]) == (0.0, 0.0, 2.0)


@pytest.mark.parametrize("references", [2, 3, 5])
def test_the_references_own_errors_attenuate_nothing(references):
    generator = torch.Generator().manual_seed(0)
    truth, *noise = torch.randn(references + 1, 5000, 4, generator=generator)
    noisy = [truth + 0.5 * own for own in noise]
    assert compare(truth, noisy) == pytest.approx((1.0, 1.0, 0.0), abs=0.02)
    shrunk = compare(0.5 * truth, noisy)
    assert shrunk == pytest.approx((0.5, 1.0, 0.25), abs=0.02)


def test_effects_are_in_units_of_the_observations_whatever_a_model_standardises_by():
    model, other = make_model().eval(), make_model().eval()
    decoder = next(decoder for _, decoder in other.observation_decoder.items())
    with torch.no_grad():
        decoder.std.mul_(2.0)
    episodes = make_episodes()
    for x, y in zip(action_effects(model, episodes), action_effects(other, episodes), strict=True):
        torch.testing.assert_close(2.0 * x, y)
    assert torch.equal(2.0 * spread(model, episodes), spread(other, episodes))


def test_rows_of_a_grid_compare_with_the_other_oracles(finished_run, tmp_path):
    for name in ("oracle-all-0", "oracle-all-1", "lawm-10pct-0"):
        shutil.copytree(finished_run, tmp_path / "grid" / "cheetah" / name)
    unfinished = tmp_path / "grid" / "cheetah" / "lawm-2pct-0"
    shutil.copytree(finished_run, unfinished)
    (unfinished / "world_model" / "DONE").unlink()
    main([str(tmp_path / "grid"), "--csv", str(tmp_path / "rows.csv")])
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert len(rows) == 3 * len(HORIZONS)
    assert {(row["task"], row["method"], row["labelled_fraction"]) for row in rows} == {
        ("cheetah", "oracle", "1.0"),
        ("cheetah", "lawm", "0.1"),
    }
    for row in rows:  # all are the same model
        assert float(row["slope"]) == pytest.approx(1.0, abs=1e-3)
        assert float(row["error"]) == pytest.approx(0.0, abs=1e-3)


def test_a_grid_without_oracles_is_refused(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "grid" / "cheetah" / "lawm-10pct-0")
    with pytest.raises(SystemExit, match="oracle"):
        main([str(tmp_path / "grid"), "--csv", str(tmp_path / "rows.csv")])
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("held_out", "message"),
    [("0", "leaves no held-out episodes"), ("3 episodes", "other held-out")],
)
def test_runs_that_cannot_be_compared_are_refused(held_out, message, finished_run, tmp_path):
    for name in ("lawm-10pct-0", "oracle-all-0"):
        shutil.copytree(finished_run, tmp_path / "grid" / "cheetah" / name)
    config = tmp_path / "grid" / "cheetah" / "lawm-10pct-0" / "config.yaml"
    changed = config.read_text().replace("held_out: 2 episodes", f"held_out: {held_out}")
    assert changed != config.read_text()
    config.write_text(changed)
    with pytest.raises(SystemExit, match=message):
        main([str(tmp_path / "grid"), "--csv", str(tmp_path / "rows.csv")])


def test_the_committed_rows_belong_to_runs_of_the_committed_grid():
    def rows(name):
        return list(csv.DictReader((CONF.parent / "results" / name).read_text().splitlines()))

    def cell(row):
        return row["task"], row["method"], row["labelled_fraction"], row["seed"]

    grid = [cell(row) for row in rows("label_efficiency.csv") if not row["method"].startswith("bc")]
    effects = rows("action_effects.csv")
    assert list(effects[0]) == [field.name for field in fields(Row)]
    assert sorted(map(cell, effects)) == sorted(grid * len(HORIZONS))
