from __future__ import annotations

import subprocess
import sys

import pytest

import lawm
from lawm.cli import main


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lawm {lawm.__version__}\n"


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("fit", "evaluate", "data"))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data", "info", "--help"]])
def test_light_commands_import_neither_torch_nor_lightning(arguments):
    program = (
        "import sys; from lawm.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'lightning', 'dm_control') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_fails(capsys):
    assert main(["frobnicate"]) == 2
    assert "invalid choice: 'frobnicate'" in capsys.readouterr().err


def test_without_a_command_help_is_shown(capsys):
    assert main([]) == 0
    assert "usage: lawm" in capsys.readouterr().out


def test_a_users_mistake_is_a_sentence_without_a_traceback(capsys, tmp_path):
    assert main(["evaluate", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lawm: error: run folder ")
    assert "Traceback" not in error


def test_an_interrupt_ends_with_130(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("lawm.cli.data_commands.run_data", interrupt)
    assert main(["data", "info", "x.h5"]) == 130
    assert capsys.readouterr().err == "lawm: interrupted.\n"


def test_python_dash_m_is_the_same_program():
    command = [sys.executable, "-m", "lawm", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"lawm {lawm.__version__}\n"


@pytest.mark.parametrize(("option", "name"), [("--json", "below.json"), ("--video", "below.gif")])
def test_a_file_that_cannot_be_written_costs_a_sentence(
    option, name, finished_run, tmp_path, capsys
):
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / name
    assert main(["evaluate", str(finished_run), option, str(inside), "--episodes", "1"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'file'}" in error
    assert "is in the way" in error
