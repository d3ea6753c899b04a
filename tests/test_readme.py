"""What the READMEs and the pages in docs/ tell a reader to type works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import ENV_ID, fit_arguments

import lawm.envs
from lawm.cli import (
    bench_command,
    data_commands,
    doctor_command,
    evaluate_command,
    fit_command,
    main,
    replay_command,
    report_command,
)
from lawm.cli.fit_parser import parse_fit
from lawm.data_modules.importers.registry import FORMATS
from lawm.envs import registry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def literal_lines(text: str) -> list[str]:
    """A literal block is indented; a line goes on after a backslash."""
    found = re.findall(r"^ {4}(\S.*(?:\\\n.*)*)(?<!\\)$", text, flags=re.MULTILINE)
    return [re.sub(r"\\\n *", "", line).strip() for line in found]


LINES = literal_lines(TEXT)
TARGETS = [line for line in LINES if line.startswith("make ")]
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = dict.fromkeys(
    line for page in PAGES for line in literal_lines(page.read_text()) if line.startswith("lawm ")
)


@pytest.fixture
def reader_folder(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A working folder with the repository's conf/, the reader's toy.py and a run called RUN."""
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    finished_run.rename(tmp_path / "RUN")
    for name in ("toy.py", "smooth.py"):
        (tmp_path / name).write_text(
            next(code for code in EXAMPLES if code.startswith(f"# {name}"))
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    yield tmp_path
    for name in ("toy", "smooth"):
        sys.modules.pop(name, None)


def test_there_are_commands_of_every_kind():
    lines = [line.split() for line in LINES if line.startswith("lawm ")]
    kinds = {" ".join(words[: 3 if words[1] == "data" else 2]) for words in lines}
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
        (doctor_command, "run_doctor"),
        (replay_command, "run_replay"),
        (report_command, "run_report"),
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


def python_of(heading: str) -> str:
    """The first Python block behind a heading or line."""
    return re.findall(r"```python\n(.*?)```", TEXT.split(heading)[1], flags=re.DOTALL)[0]


def test_python_example(reader_folder, monkeypatch):
    code = python_of("In Python:")
    assert len([line for line in code.splitlines() if line]) <= 10
    real = lawm.envs.make_env
    monkeypatch.setattr(lawm.envs, "make_env", lambda env_id, **settings: real(ENV_ID, **settings))
    names: dict[str, object] = {}
    exec(code, names)
    assert names["done"] is True
    assert names["action"].shape == (2,)


def test_python_example_of_the_world_model(reader_folder, tiny_data):
    (reader_folder / "data").mkdir()
    shutil.copy(tiny_data, reader_folder / "data" / "cheetah_run_sac_replay.h5")
    names: dict[str, object] = {}
    exec(python_of("## The world model in Python"), names)
    assert names["states"].shape == (len(names["actions"]) + 1,)
    assert names["difference"].shape == (5, 3)
    assert np.abs(names["difference"]).max() > 0


def test_a_simulator_of_the_reader_s_works_in_every_command(reader_folder, capsys):
    """The commands as they stand there, but for the name of the run."""
    commands = [shlex.split(line)[1:] for line in LINES if "--allow-import toy" in line]
    assert [words[0] for words in commands] == ["data", "fit", "evaluate"]
    shutil.rmtree("RUN")
    for words in commands:
        where = ["--run_dir", "RUN", "--trainer.accelerator", "cpu"] if words[0] == "fit" else []
        assert main([*words, *where]) == 0
    out = capsys.readouterr().out
    assert "lawm evaluate RUN --allow-import toy" in " ".join(out.split())
    assert "Return " in out
    assert main(["evaluate", "RUN"]) == 0, "the module stays imported in this process"
    sys.modules.pop("toy")
    del registry._FACTORIES["toy"]
    capsys.readouterr()
    for words in (["evaluate", "RUN"], ["fit", "--resume", "RUN"]):
        assert main(words) == 2
        assert "--allow-import MODULE" in capsys.readouterr().err


def test_a_module_of_the_reader_s_is_trained(reader_folder, tiny_data):
    """The command as it stands there, but for its data and its length."""
    (words,) = [shlex.split(line)[1:] for line in LINES if "--allow-import smooth" in line]
    arguments = fit_arguments(
        tiny_data, reader_folder / "own", *words[words.index("--allow-import") :]
    )
    assert main(arguments) == 0
    header, *rows = (reader_folder / "own" / "world_model" / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("world_model/change_of_u")
    assert any(float(row.split(",")[place] or 0) > 0 for row in rows)


@pytest.mark.filterwarnings("ignore")  # of a Trainer that was given little
def test_python_example_of_a_trainer_of_the_reader_s(reader_folder, tiny_data):
    (reader_folder / "data").mkdir()
    shutil.copy(tiny_data, reader_folder / "data" / "cheetah_run_sac_replay.h5")
    code = python_of("Without the command line")
    for there, here in (
        ("max_steps=2000", "max_steps=2, accelerator='cpu'"),
        ("max_steps=400", "max_steps=2, accelerator='cpu'"),
        ('labels="10%"', 'labels="50%", window=8, batch_size=4'),
        ("data.spec)\nprior", "data.spec, advantage_updates=2)\nprior"),
    ):
        assert code.count(there) == 1
        code = code.replace(there, here)
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["result"].returns) == 10


def test_table_of_presets_is_complete():
    named = set(re.findall(r"^\| `(conf/\S+\.yaml)`", TEXT, flags=re.MULTILINE))
    assert named == {f"conf/{path.name}" for path in (ROOT / "conf").glob("*.yaml")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_at_files(page):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert targets or page.name != "README.md"
    assert [target for target in targets if not (page.parent / target).exists()] == []


def anchors_of(page: Path) -> set[str]:
    """What a link to one of the page's headings says behind #."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_at_headings(page):
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())
    missing = [
        (target, anchor)
        for target, anchor in links
        if anchor not in anchors_of(page.parent / target if target else page)
    ]
    assert missing == []


def test_the_page_on_data_has_a_command_for_every_format():
    page = (ROOT / "docs" / "bring-your-data.md").read_text()
    told = {name for name in FORMATS if f"({name})" in page or f"[{name}]" in page}
    assert told == FORMATS.keys() - {"rl-unplugged"}, "rl-unplugged is recognised to be refused"
