"""Which part may import which; a new module belongs to the lowest layer unless it is named here."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PURE, PARTS, LIGHTNING_MODULES, TRAINER, COMMAND_LINE = range(5)  # each may import those before it
LAYERS = {
    "lawm.data_modules": PARTS,
    "lawm.callbacks": PARTS,
    "lawm.stage_module": LIGHTNING_MODULES,
    "lawm.world_model_module": LIGHTNING_MODULES,
    "lawm.policy_checkpoint": LIGHTNING_MODULES,
    "lawm.policy_module": LIGHTNING_MODULES,
    "lawm.own_modules": LIGHTNING_MODULES,
    "lawm.action_prediction_module": LIGHTNING_MODULES,
    "lawm.acceleration": LIGHTNING_MODULES,
    "lawm.start_states": LIGHTNING_MODULES,
    "lawm.saved_run": LIGHTNING_MODULES,
    "lawm.replay": LIGHTNING_MODULES,
    "lawm.trajectory_arrays": PARTS,
    "lawm.trained_world_model": LIGHTNING_MODULES,
    "lawm.benchmarks": TRAINER,
    "lawm.stage_runner": TRAINER,
    "lawm.world_model_source": TRAINER,
    "lawm.policy_evaluation": TRAINER,
    "lawm.reward_check": TRAINER,
    "lawm.two_stage": TRAINER,
    "lawm.trainer_check": TRAINER,
    "lawm.cli": COMMAND_LINE,
    "lawm.__main__": COMMAND_LINE,
}
# Of the lowest layer, what speaks to Lightning's Trainer; no network and no function of the method
USES_TORCH = {  # of the data modules
    "mixed_trajectories",
    "data_facts",
    "episode_store",
    "store_loading",
    "row_sources",
    "batch_loaders",
    "window_checks",
    "validation_windows",
    "labeller",
}
LIGHTNING_HELPERS = {
    "lawm.checkpoint_io",
    "lawm.fit_config",
    "lawm.ranks",
    "lawm.run_loggers",
    "lawm.running_means",
    "lawm.stage_faults",
}


def _modules() -> dict[str, Path]:
    """Name to file, through the links."""
    linked = ("benchmarks", "callbacks", "data_modules")
    folders = [SRC / "lawm", *(SRC / "lawm" / name for name in linked)]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    return {
        ".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(files)
    }


MODULES = _modules()
LAYERED = [name for name in MODULES if name != "lawm"]  # the package itself offers what lies above


@cache
def imports(name: str) -> frozenset[str]:
    """The modules that a module imports anywhere in it, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{name} has a relative import"
            # `from lawm.data_modules import shard_format` may name a module or something in one
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | (inner & MODULES.keys())
    return frozenset(found - {"lawm"})


def layer(name: str) -> int:
    return next(
        (rank for part, rank in LAYERS.items() if name == part or name.startswith(f"{part}.")), PURE
    )


def uses(name: str, package: str) -> bool:
    return any(module.split(".")[0] == package for module in imports(name))


def test_the_named_modules_exist():
    assert {*LAYERS, *LIGHTNING_HELPERS} <= MODULES.keys()
    assert {f"lawm.data_modules.{name}" for name in USES_TORCH} <= MODULES.keys()


@pytest.mark.parametrize("name", LAYERED)
def test_imports_point_downwards(name):
    own = [module for module in imports(name) if module.split(".")[0] == "lawm"]
    assert [module for module in own if layer(module) > layer(name)] == []


@pytest.mark.parametrize(
    ("part", "other"), [("data_modules", "callbacks"), ("callbacks", "data_modules")]
)
def test_the_two_parts_do_not_know_each_other(part, other):
    for name in MODULES:
        if name.startswith(f"lawm.{part}"):
            assert [m for m in imports(name) if m.startswith(f"lawm.{other}")] == [], name


def test_the_method_knows_no_lightning():
    pure = [name for name in LAYERED if layer(name) == PURE]
    assert {name for name in pure if uses(name, "lightning")} <= LIGHTNING_HELPERS
    method = {"lawm.world_model", "lawm.world_model_loss", "lawm.imagination", "lawm.returns"}
    assert method <= set(pure) - LIGHTNING_HELPERS
    for name in method:
        assert not imports(name) & LIGHTNING_HELPERS, name


def test_only_data_modules_open_shards():
    """And what measures or attacks them."""
    users = {name for name in MODULES if uses(name, "h5py")}
    assert users
    may = ("lawm.data_modules.", "lawm.benchmarks.")
    assert {name for name in users if not name.startswith(may)} == set()


def test_lightning_is_imported_by_one_name():
    # The wheels `lightning` and `pytorch_lightning` hold two copies of the same classes
    assert [name for name in MODULES if uses(name, "pytorch_lightning")] == []


def run_without_torch(code: str) -> None:
    check = "import sys; assert not {'torch', 'lightning'} & sys.modules.keys()"
    command = [sys.executable, "-c", f"{code}\n{check}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readers_and_importers_need_no_torch():
    prefix = "lawm.data_modules."
    names = [
        name
        for name in MODULES
        if name.startswith(prefix) and name.removeprefix(prefix) not in USES_TORCH
    ]
    assert f"{prefix}shard_reader" in names
    # Stable-baselines3 brings torch; its adapter is imported when SAC is asked for
    run_without_torch("\n".join(f"import {n}" for n in names if not n.endswith("_adapter")))


@pytest.mark.parametrize(
    "words",
    [["--help"], ["data", "info", "--help"], ["evaluate", "--help"], ["report", "--help"]],
)
def test_help_needs_no_torch(words):
    run_without_torch(f"from lawm.cli import main\nassert main({words}) == 0")
