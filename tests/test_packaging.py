"""The top folders `callbacks` and `data_modules` are parts of the package by way of links."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lawm

ROOT = Path(__file__).parents[1]
LINKED = ("benchmarks", "callbacks", "data_modules")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lawm.__path__, "lawm.")
    if module.name != "lawm.__main__"
)


@pytest.mark.parametrize("name", LINKED)
def test_link_points_at_the_folder(name):
    link = ROOT / "src" / "lawm" / name
    assert link.is_symlink(), f"{link} is not a link: was the repository unpacked without links?"
    assert link.readlink() == Path("..", "..", name)
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", LINKED)
def test_git_keeps_the_link(name):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--stage", f"src/lawm/{name}"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed.startswith("120000 ")


@pytest.mark.parametrize("name", LINKED)
def test_the_folder_alone_is_not_a_package(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(ImportError, match=rf"Import lawm\.{name}: {name} alone is not a package"):
        importlib.import_module(name)


def test_the_walk_finds_the_linked_modules():
    for name in LINKED:
        files = {path.stem for path in (ROOT / name).glob("*.py")} - {"__init__"}
        assert files
        assert {f"lawm.{name}.{file}" for file in files} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_module_imports(name):
    importlib.import_module(name)


def test_version_is_that_of_the_installed_package():
    assert importlib.metadata.version("lawm") == lawm.__version__


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a wheel holds that is built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", *LINKED):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    # Without isolation: no network; setuptools comes with torch
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_every_module(wheel_names):
    package = ROOT / "src" / "lawm"
    folders = [package, *(package / name for name in LINKED)]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    expected = {str(file.relative_to(ROOT / "src")) for file in files}
    assert {"lawm/callbacks/__init__.py", "lawm/data_modules/__init__.py"} <= expected
    assert expected == {name for name in wheel_names if name.endswith(".py")}
    assert "lawm/py.typed" in wheel_names
    templates = package / "html_report" / "templates"
    shipped = {f"lawm/html_report/templates/{file.name}" for file in templates.iterdir()}
    assert shipped
    assert shipped <= wheel_names


def test_the_wheel_has_one_top_level_package(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lawm"}
