"""A configuration cannot make lawm import and run what is not lawm's or Lightning's."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from lightning.pytorch.profilers import SimpleProfiler

from lawm.cli import main
from lawm.cli.fit_parser import parse_fit
from lawm.errors import LawmError

HOSTILE = {
    "a module of the user's": {"profiler": {"class_path": "hostile_module.Mine"}},
    "by its name alone": {"profiler": "hostile_module.Mine"},
    "in a list": {"plugins": [{"class_path": "hostile_module.Mine"}]},
    "as strategy": {"strategy": {"class_path": "hostile_module.Mine"}},
    "as accelerator": {"accelerator": {"class_path": "hostile_module.Mine"}},
    "the standard library": {
        "plugins": [{"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "RAN"]}}]
    },
    "through Lightning": {
        "plugins": [{"class_path": "lightning.pytorch.trainer.trainer.os.system"}]
    },
    "as an argument of Lightning's": {
        "strategy": {
            "class_path": "lightning.pytorch.strategies.DDPStrategy",
            "init_args": {"ddp_comm_hook": "hostile_module.hook"},
        }
    },
    "below an argument that takes anything": {
        "profiler": {
            "class_path": "lightning.pytorch.profilers.PyTorchProfiler",
            "init_args": {"schedule": {"class_path": "hostile_module.Mine"}},
        }
    },
}


REFUSED = r"is no class of lawm or lightning.*--allow-import|schedule.class_path' is not accepted"


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A module on the path that leaves a file when it is imported."""
    note = tmp_path / "RAN"
    (tmp_path / "hostile_module.py").write_text(
        f"open({str(note)!r}, 'w').close()\n"
        "from lightning.pytorch.profilers import SimpleProfiler\n"
        "class Mine(SimpleProfiler): pass\n"
        "def hook(state, bucket): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield note
    sys.modules.pop("hostile_module", None)


def config_file(tmp_path, trainer):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"shards": "a.h5"}, "trainer": trainer}))
    return ["--config", str(path)]


@pytest.mark.parametrize("trainer", HOSTILE.values(), ids=HOSTILE)
def test_a_configuration_cannot_name_other_code(trainer, ran, tmp_path):
    with pytest.raises(LawmError, match=REFUSED):
        parse_fit(config_file(tmp_path, trainer))
    assert not ran.exists()


@pytest.mark.parametrize("trainer", HOSTILE.values(), ids=HOSTILE)
def test_nor_can_an_option(trainer, ran, tmp_path):
    key, value = next(iter(trainer.items()))
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(LawmError, match=REFUSED):
        parse_fit(["--data.shards", "a.h5", f"--trainer.{key}", text])
    assert not ran.exists()


def test_lightnings_own_classes_are_built(tmp_path):
    trainer = {"profiler": {"class_path": "SimpleProfiler", "init_args": {"extended": False}}}
    profiler = parse_fit(config_file(tmp_path, trainer)).config.trainer["profiler"]
    assert type(profiler) is SimpleProfiler
    assert profiler.extended is False


def test_a_module_that_the_user_vouches_for_is_imported_this_time_only(ran, tmp_path):
    arguments = config_file(tmp_path, HOSTILE["a module of the user's"])
    request = parse_fit([*arguments, "--allow-import", "hostile_module"])
    assert type(request.config.trainer["profiler"]).__name__ == "Mine"
    assert ran.exists()
    assert "allow" not in request.config_text
    with pytest.raises(LawmError, match="hostile_module"):
        parse_fit(arguments)


def test_a_configuration_cannot_allow_itself_anything(ran, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    trainer = HOSTILE["a module of the user's"]
    for key in ("allow_import", "allow-import"):
        path.write_text(yaml.safe_dump({"trainer": trainer, key: ["hostile_module"]}))
        assert main(["fit", "--data.shards", "a.h5", "--config", str(path)]) == 2
        assert f"sets `{key}`, which is not a setting" in capsys.readouterr().err
    assert not ran.exists()


def test_a_module_that_is_named_is_imported_before_anything_is_read(ran):
    with pytest.raises(LawmError, match=r"nosuch\.yaml"):
        parse_fit(["--config", "nosuch.yaml", "--allow-import", "hostile_module"])
    assert ran.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "nosuch"],
        ["data", "import", "nosuch", "out.h5"],
        ["data", "collect", "out.h5", "--env", "nosuch/env"],
        ["bench", "labels", "--out", "runs"],
        ["fit", "--data.shards", "nosuch.h5"],
    ],
    ids=" ".join,
)
def test_every_command_that_makes_environments_imports_it(words, ran, capsys):
    assert main(words) == 2
    assert not ran.exists()
    assert main([*words, "--allow-import", "nosuch_module"]) == 2
    assert "no module `nosuch_module`, neither installed nor in the" in capsys.readouterr().err
    assert main([*words, "--allow-import", "hostile_module"]) == 2
    assert ran.exists()


def test_a_module_must_have_a_name():
    with pytest.raises(LawmError, match=r"--allow-import is `\*`; expected the dotted name"):
        parse_fit(["--data.shards", "a.h5", "--allow-import", "*"])


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/lawm", "a/b", "..", ".hidden", "a b"])
def test_the_name_of_an_experiment_stays_below_runs(name):
    with pytest.raises(LawmError, match="name is"):
        parse_fit(["--data.shards", "a.h5", "--name", name])
