from __future__ import annotations

import csv
import sys

import pytest
import torch
from tiny_runs import tiny_fit

import lawm
from lawm.checkpoint_file import read_checkpoint
from lawm.cli import main
from lawm.errors import LawmError
from lawm.own_modules import latent_policy_module, world_model_module
from lawm.policy_module import LatentPolicyModule
from lawm.world_model_module import WorldModelModule

MINE = '''
import torch

from lawm.policy_module import LatentPolicyModule
from lawm.world_model_module import WorldModelModule


class Smooth(WorldModelModule):
    """Latent actions that change little.

    Args:
        spec: Of the data.
        smoothness: Weight of their change.
    """

    def __init__(self, spec, smoothness: float = 0.5, **settings) -> None:
        super().__init__(spec, **settings)
        self.smoothness = smoothness
        self.own = torch.nn.Parameter(torch.ones(()))
        self.frozen = torch.nn.Parameter(torch.ones(()), requires_grad=False)

    def additional_loss(self, batch, observed):
        u = self.model.latent_action.latent.mode(observed.inverse_posterior)
        assert u.shape[1] == batch.num_rows
        change = (u[1:] - u[:-1]).square().mean()
        return {"change_of_u": self.smoothness * self.own * (change + 1.0)}


class Wider(LatentPolicyModule):
    """A policy that is wider than its settings say."""

    def __init__(self, world_model, spec, times: int = 2, hidden: int = 8, **settings) -> None:
        super().__init__(world_model, spec, hidden=times * hidden, **settings)
        self.own = torch.nn.Parameter(torch.ones(()))

    def compute_loss(self, start):
        loss, logs = super().compute_loss(start)
        return loss + self.own, {"loss": logs["loss"], "imagined_reward": self.own.detach()}
'''
SMOOTH = ("--stages.world_model.module", "mine.Smooth", "--allow-import", "mine")
WIDER = ("--stages.policy.module", "mine.Wider", "--allow-import", "mine")


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("mine", None)


def test_without_a_name_it_is_lawm_s_own():
    assert world_model_module(None) is WorldModelModule
    assert latent_policy_module(None) is LatentPolicyModule


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.Smooth", "the module `mine` is not imported.*--allow-import"),
        ("Smooth", "which is in no module; expected"),
        ("json.JSONDecoder", "is <class 'json.decoder.JSONDecoder'>; expected a subclass of lawm"),
        ("json.Nothing", "nothing of that name; expected a subclass of lawm.world_model_module"),
        ("lawm.policy_module.LatentPolicyModule", "expected a subclass of lawm.world_model_modul"),
    ],
)
def test_what_is_none_of_them_is_refused(name, message):
    with pytest.raises(LawmError, match=rf"stages.world_model.module names `{name}`.*{message}"):
        world_model_module(name)
    assert "mine" not in sys.modules, "a name must not cause an import"


def test_a_world_model_of_the_user_is_trained(tiny_data, tmp_path, capsys):
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    config.write_text(
        "stages: {world_model: {module: mine.Smooth}}\nworld_model: {smoothness: 2.0}\n"
    )
    options = ("--config", str(config))
    assert tiny_fit(tiny_data, run, *options) == 2
    assert "the module `mine` is not imported" in capsys.readouterr().err
    assert tiny_fit(tiny_data, run, *options, "--allow-import", "mine") == 0
    with (run / "world_model" / "metrics.csv").open() as file:
        change = [row["world_model/change_of_u"] for row in csv.DictReader(file)]
    assert any(change)
    assert all(float(value) > 0 for value in change if value)
    own = read_checkpoint(run / "world_model" / "checkpoints" / "last.ckpt")["state_dict"]
    assert own["own"] < 1 and own["frozen"] == 1, "what is its own is trained, if it may be"
    sys.modules.pop("mine")
    lawm.load(run)  # its world model is one of lawm's, with or without the class
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0
    capsys.readouterr()
    assert main(["fit", "--resume", str(run)]) == 2
    assert "the module `mine` is not imported" in capsys.readouterr().err
    assert main(["fit", "--resume", str(run), "--allow-import", "mine"]) == 0


def test_a_world_model_is_reused_by_runs_of_the_same_class_alone(
    finished_run, tiny_data, tmp_path, capsys
):
    run, trained = tmp_path / "run", ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, run, *trained, *SMOOTH) == 2
    error = capsys.readouterr().err
    assert "stages.world_model.module (absent there, mine.Smooth here)" in error
    assert "world_model.smoothness (absent there, 0.5 here)" in error


def test_a_policy_of_the_user_is_loaded_as_what_it_is(finished_run, tiny_data, tmp_path, capsys):
    run, trained = tmp_path / "run", ("--world_model_from", str(finished_run))
    assert tiny_fit(tiny_data, run, *trained, *WIDER, "--policy.times", "3") == 0
    plain = sum(p.numel() for p in lawm.load(finished_run).policy.parameters())
    assert sum(p.numel() for p in lawm.load(run).policy.parameters()) > 2 * plain
    own = read_checkpoint(run / "policy" / "checkpoints" / "last.ckpt")["state_dict"]
    assert own["own"] < 1, "trained, with logs of its own"
    sys.modules.pop("mine")
    for checkpoint in ("last", "selected", "best"):
        with pytest.raises(LawmError, match=r"policy.module names `mine.Wider`.*import mine"):
            lawm.load(run, checkpoint)
    assert main(["evaluate", str(run), "--episodes", "1"]) == 2
    assert "--allow-import mine" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--episodes", "1", "--allow-import", "mine"]) == 0


def test_settings_of_the_user_s_class_are_checked_like_lawm_s(tiny_data, tmp_path, capsys):
    run = tmp_path / "run"
    for options, message in (
        (("--world_model.smoothness", "1"), "sets `world_model.smoothness`, which is not a setti"),
        ((*SMOOTH, "--world_model.smothness", "1"), "Did you mean `world_model.smoothness`"),
        ((*SMOOTH, "--world_model.smoothness", "much"), "world_model.smoothness"),
        (
            ("--stages.world_model", '{"module": "mine.Smooth"}', *SMOOTH[2:]),
            "stages.world_model.module is `mine.Smooth`, given inside another value",
        ),
    ):
        assert tiny_fit(tiny_data, run, *options) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not run.exists()


def test_the_last_name_wins_and_null_is_lawm_s_own(tiny_data, tmp_path, finished_run):
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    config.write_text("stages: {world_model: {module: nosuch.Module}}\n")
    options = ("--config", str(config), "--stages.world_model.module=null")
    assert tiny_fit(tiny_data, run, *options, "--stage", "world_model") == 0
    here, there = (
        torch.load(path / "world_model" / "checkpoints" / "last.ckpt", weights_only=True)
        for path in (run, finished_run)
    )
    for name, value in there["state_dict"].items():
        assert torch.equal(here["state_dict"][name], value), name


def test_a_batch_of_the_user_s_module_is_replayed(tiny_data, tmp_path, capsys):
    """The class is known to the weights that are kept beside the batch."""
    (tmp_path / "mine.py").write_text(
        MINE.replace("self.smoothness * self.own", "float('nan') * self.own")
    )
    run = tmp_path / "run"
    assert tiny_fit(tiny_data, run, *SMOOTH, "--world_model.smoothness", "3") != 0
    (batch,) = (run / "faults").glob("*.npz")
    capsys.readouterr()
    assert main(["replay", str(batch), "--allow-import", "mine"]) == 1
    assert "change_of_u" in capsys.readouterr().out
    sys.modules.pop("mine")
    assert main(["replay", str(batch)]) == 2
    assert "the module `mine` is not imported" in capsys.readouterr().err
