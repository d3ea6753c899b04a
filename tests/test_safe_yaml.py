from __future__ import annotations

import pytest

from lawm.cli import main
from lawm.errors import LawmError
from lawm.safe_yaml import MAX_DEPTH, read_yaml


def laughs(kind):
    """Nine lines that stand for a thousand million values."""
    if kind == "lists":
        lines = ["a0: &a0 [lol, lol]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    else:
        lines = ["a0: &a0 {k: v}"]
        lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 10)]
    return "\n".join(lines)


HOSTILE = {
    "aliases of lists": (laughs("lists"), "once its aliases are written out"),
    "aliases that are merged": (laughs("merges"), "once its aliases are written out"),
    "itself": ("a: &a [*a]", "contains itself"),
    "itself as a key": ("&a {x: {? *a : 1}}", "contains itself"),
    "deep": ("[" * 40 + "]" * 40, "nested deeper than 32"),
    "very deep": ("[" * 3_000, "nested deeper than 32"),
    "large": ("#" * 1_000_001, "has 1,000,001 bytes"),
    "a command": ("a: !!python/object/apply:os.system ['touch RAN']", "not valid YAML"),
    "a class": ("a: !!python/name:os.system", "not valid YAML"),
    "a module": ("a: !!python/module:hostile", "not valid YAML"),
    "a new object": ("a: !!python/object/new:os._exit [3]", "not valid YAML"),
    "bytes": ("a: \x00", "not valid YAML"),
    "a list as key": ("? [a]\n: 1", "not valid YAML"),
    "no such date": ("a: 2020-13-45", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_costs_a_sentence(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(LawmError, match=message):
        read_yaml(path)
    assert main(["fit", "--config", str(path)]) == 2
    assert f"configuration {path}" in capsys.readouterr().err
    assert not (tmp_path / "RAN").exists()


def test_a_folder_or_a_device_is_no_configuration(tmp_path, capsys):
    assert main(["fit", "--config", str(tmp_path)]) == 2
    assert main(["fit", "--config", "/dev/zero"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_aliases_and_merges_of_a_sensible_size_are_fine(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    content = read_yaml(path)
    assert content["b"] == {"x": 1, "y": 2}
    assert content["c"] == [{"x": 1}, {"x": 1}]


def test_the_greatest_depth_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert isinstance(read_yaml(path), list)


def test_an_empty_file_is_empty(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) is None
