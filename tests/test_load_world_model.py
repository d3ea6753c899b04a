"""The world model of a run folder."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_runs import CONF, tiny_fit

import lawm
from lawm.errors import LawmError


def test_the_world_model_of_a_run(finished_run):
    model = lawm.load_world_model(finished_run)
    assert model.spec == lawm.load(finished_run).spec
    obs = {"state": np.random.default_rng(0).normal(size=(2, 9, 3))}
    actions = model.infer_actions(obs)
    assert actions.shape == (2, 8, 2)
    assert np.isfinite(model.imagine(model.encode(obs)[:, -1], action=actions).reward).all()


def test_the_world_model_of_a_run_of_stage_1_alone(tiny_data, tmp_path):
    assert tiny_fit(tiny_data, tmp_path / "run", "--stage", "world_model") == 0
    model = lawm.load_world_model(tmp_path / "run")
    assert model.encode({"state": np.zeros((4, 3))}).shape == (4,)


def test_a_run_without_a_world_model_is_refused(tiny_data, tmp_path):
    preset = ("--config", str(CONF / "bc.yaml"), "--config", str(CONF / "debug.yaml"))
    assert tiny_fit(tiny_data, tmp_path / "run", *preset) == 0
    with pytest.raises(LawmError, match=r"holds no world model.*behaviour cloning has no world"):
        lawm.load_world_model(tmp_path / "run")
    with pytest.raises(LawmError, match=r"does not exist; expected the folder of a `lawm fit`"):
        lawm.load_world_model(tmp_path / "elsewhere")
