"""What the README tells a reader to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tiny_runs import ENV_ID

import lawm.envs
from lawm.cli import bench_command, data_commands, evaluate_command, fit_command, main
from lawm.cli.fit_parser import parse_fit

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
# A literal block is indented; a line goes on after a backslash
LINES = [line.strip() for line in re.findall(r"^ {4}(\S.*(?:\\\n.*)*)$", TEXT, flags=re.MULTILINE)]
COMMANDS = [line for line in LINES if line.startswith("lawm ")]
TARGETS = [line for line in LINES if line.startswith("make ")]


@pytest.fixture
def reader_folder(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the repository's conf/ and a run called RUN."""
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    finished_run.rename(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands_of_every_kind():
    kinds = {" ".join(line.split()[: 3 if "data" in line else 2]) for line in COMMANDS}
    expected = {"lawm fit", "lawm evaluate", "lawm bench"}
    expected |= {f"lawm data {name}" for name in ("collect", "import", "info")}
    assert expected <= kinds
    assert {"make demo", "make test"} <= {" ".join(line.split()[:2]) for line in TARGETS}


@pytest.mark.usefixtures("reader_folder")
@pytest.mark.parametrize("line", COMMANDS)
def test_command_parses(line, monkeypatch):
    parsed = []
    monkeypatch.setattr(fit_command, "run_fit", lambda words: parsed.append(parse_fit(words)) or 0)
    commands = (
        (bench_command, "run_bench"),
        (evaluate_command, "run_evaluate"),
        (data_commands, "run_data"),
    )
    for module, name in commands:
        monkeypatch.setattr(module, name, lambda args: parsed.append(args) or 0)
    assert main(shlex.split(line, comments=True)[1:]) == 0
    assert len(parsed) == 1


@pytest.mark.parametrize("line", TARGETS)
def test_make_target_exists(line):
    words = shlex.split(line, comments=True)
    done = subprocess.run(
        [words[0], "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_python_example(reader_folder, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    real = lawm.envs.make_env
    monkeypatch.setattr(lawm.envs, "make_env", lambda env_id, **settings: real(ENV_ID, **settings))
    names: dict[str, object] = {}
    exec(code, names)
    assert names["done"] is True
    assert names["action"].shape == (2,)


def test_table_of_presets_is_complete():
    named = set(re.findall(r"^\| `(conf/\S+\.yaml)`", TEXT, flags=re.MULTILINE))
    assert named == {f"conf/{path.name}" for path in (ROOT / "conf").glob("*.yaml")}


def test_links_point_at_files():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []
