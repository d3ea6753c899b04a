"""Every test that the fault table names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "faults.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_it_exists(file, test):
    functions = ast.walk(ast.parse((ROOT / file).read_text()))
    assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def test_every_fault_names_one():
    rows = [line for line in TABLE.splitlines() if re.match(r"\| (?!fault \|)", line)]
    assert len(rows) > 20
    assert [row.split("|")[1].strip() for row in rows if "`tests/" not in row.split("|")[-2]] == []
