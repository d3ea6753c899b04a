"""Reads YAML that somebody else may have written: plain values only, and of a sensible size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lawm.errors import LawmError

MAX_BYTES = 1_000_000  # of the file
MAX_VALUES = 20_000  # with every alias written out; a full configuration has about 150
MAX_DEPTH = 32  # mappings and lists inside one another


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """The content of a file.

    A few lines of nested aliases stand for billions of values once something walks over them, so
    their number is counted before any is made.

    Raises:
        LawmError: The file is too large, too deep, not YAML, or asks for more than plain values.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise LawmError(
                f"configuration {path} has {size:,} bytes; expected at most {MAX_BYTES:,}. It "
                "holds something else than settings."
            )
        text = path.read_text()
        _check_size(path, yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except OSError as error:
        raise LawmError(f"configuration {path} cannot be read ({error.strerror}).") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, LawmError):
            raise
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is not text"
        raise LawmError(
            f"configuration {path}{place} is not valid YAML: {problem}. Correct the file."
        ) from error


def _check_size(path: Path, root: yaml.Node | None) -> None:
    """Refuse what would be huge, deep, or endless, written out."""
    sizes: dict[int, int] = {}  # of nodes that were counted; an alias is the node it stands for
    open_nodes: set[int] = set()

    def count(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH or id(node) in open_nodes:
            raise _too_deep(path)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            children: list[yaml.Node] = []
            if isinstance(node, yaml.MappingNode):
                children = [child for pair in node.value for child in pair]
            elif isinstance(node, yaml.SequenceNode):
                children = node.value
            sizes[id(node)] = 1 + sum(count(child, depth + 1) for child in children)
            open_nodes.remove(id(node))
        return sizes[id(node)]

    if root is not None and (values := count(root, 0)) > MAX_VALUES:
        raise LawmError(
            f"configuration {path} stands for {values:,} values once its aliases are written out; "
            f"expected at most {MAX_VALUES:,}. Do not use this file."
        )


def _too_deep(path: Path) -> LawmError:
    return LawmError(
        f"configuration {path} is nested deeper than {MAX_DEPTH} levels, or contains itself; "
        "expected settings two or three levels deep. Do not use this file."
    )


__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "read_yaml"]
