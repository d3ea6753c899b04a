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


def test_a_test_column_names_a_test():
    rows = [line for line in TABLE.splitlines() if re.match(r"\| (?!fault \|)", line)]
    cells = [row.split("|")[-2].strip() for row in rows]
    assert len(NAMED) > 20
    assert [cell for cell in cells if cell and "`tests/" not in cell] == []
