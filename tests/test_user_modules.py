from __future__ import annotations

import functools
import multiprocessing
import sys

import numpy as np
import pytest

from lawm import worker_process
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.envs import make_env, registry
from lawm.envs.simulator_process import SimulatorProcess
from lawm.errors import LawmError
from lawm.run_folder import check_new_run_folder
from lawm.user_modules import allow_import_options, allowing, import_user_modules, user_modules

ENVIRONMENT = """
import numpy as np
from lawm.envs import register_env

class Still:
    action_repeat, control_timestep = 1, 0.1
    action_low, action_high = -np.ones(3), np.ones(3)

    def close(self):
        pass

register_env("still", lambda env_id, action_repeat, seed: Still())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder; what is imported and registered is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]
    import_user_modules([])


def test_a_module_in_the_current_folder_is_found_and_the_folder_is_not_searched_later(folder):
    (folder / "mine.py").write_text("import mine_too\nclass Thing: pass\n")
    (folder / "mine_too.py").write_text("")
    (folder / "mine_never.py").write_text("")
    path = list(sys.path)
    import_user_modules(["mine", "mine.Thing"])
    assert {"mine", "mine_too"} <= sys.modules.keys()
    assert sys.path == path
    with pytest.raises(ModuleNotFoundError):
        __import__("mine_never")


def test_what_is_installed_is_not_shadowed(folder):
    (folder / "colorsys.py").write_text("raise AssertionError\n")
    sys.modules.pop("colorsys", None)
    import_user_modules(["colorsys"])
    assert sys.modules["colorsys"].rgb_to_hsv


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine_nowhere", r"no module `mine_nowhere`, neither installed nor in the current folder"),
        ("mine_nowhere.part", r"no module `mine_nowhere`,"),
        ("mine.Nothing", r"no module `mine.Nothing`,"),
        ("mine-too", r"--allow-import is `mine-too`; expected the dotted name"),
        ("mine_broken", r"raised ZeroDivisionError at line 2 of .*mine_broken.py: division by zer"),
        ("mine_poor", r"raised ModuleNotFoundError at line 1 of .*: No module named 'mine_lacks'"),
    ],
)
def test_what_cannot_be_imported_is_told(folder, name, message):
    (folder / "mine.py").write_text("")
    (folder / "mine_broken.py").write_text("\n1 / 0\n")
    (folder / "mine_poor.py").write_text("import mine_lacks\n")
    with pytest.raises(LawmError, match=message):
        import_user_modules([name])
    assert user_modules() == ()


def test_commands_repeat_the_option(folder):
    (folder / "mine.py").write_text("")
    assert allowing("lawm evaluate RUN") == "lawm evaluate RUN"
    import_user_modules(["mine"])
    assert allow_import_options() == ["--allow-import", "mine"]
    assert allowing("lawm evaluate RUN") == "lawm evaluate RUN --allow-import mine"
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("a: 1\n")
    with pytest.raises(LawmError, match=r"use `lawm fit --resume \S+run --allow-import mine`"):
        check_new_run_folder(folder / "run", "")
    assert "--allow-import mine" in ImportOptions().command(folder / "a.npz", folder / "b.h5")
    import_user_modules([])
    assert allow_import_options() == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_process_of_a_simulator_knows_the_environment(folder, monkeypatch, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    (folder / "mine.py").write_text(ENVIRONMENT)
    import_user_modules(["mine"])
    monkeypatch.setattr(worker_process, "multiprocessing", multiprocessing.get_context(method))
    simulators = SimulatorProcess(functools.partial(make_env, "still/life"), timeout=60)
    assert simulators.action_low.shape == np.ones(3).shape
    simulators.close()
