"""Reads the files of a run that may be missing, half-written, damaged or somebody else's."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError
from lawm.safe_yaml import read_yaml

MAX_BYTES = 200_000_000  # of one file; a metrics.csv of 100,000 rows has about 50 million


MAX_NUMBER = 1e30  # no figure is drawn of larger ones


@dataclass(frozen=True)
class Curve:
    """One logged number along the steps."""

    steps: NDArray[np.float64]  # (N,), updates done
    values: NDArray[np.float64]  # (N,), finite


@dataclass
class FileReader:
    """Reads files below a folder; what is wrong with one is kept as a sentence.

    Args:
        root: The folder, for short names in the sentences.
    """

    root: Path
    damaged: list[str] = field(default_factory=list)

    def text(self, path: Path) -> str | None:
        """The file as UTF-8; None where there is none or it is no text."""
        if not path.is_file():  # neither a folder nor a pipe, which would be waited for
            return None
        try:
            if (size := path.stat().st_size) > MAX_BYTES:
                self._refuse(path, f"it has {size:,} bytes, more than any run writes")
                return None
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            self._refuse(path, "it is not UTF-8 text")
            return None
        except OSError as error:
            self._refuse(path, error.strerror or str(error))
            return None

    def mapping(self, path: Path) -> dict[str, Any]:
        """A JSON object; {} where there is none."""
        text = self.text(path)
        if text is None:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._refuse(path, f"it is not JSON ({_short(error)})")
            return {}
        if not isinstance(value, dict):
            self._refuse(path, f"it holds {type(value).__name__}, expected an object")
            return {}
        return value

    def settings(self, path: Path) -> dict[str, Any]:
        """A YAML mapping; {} where there is none."""
        if not path.is_file():
            return {}
        try:
            value = read_yaml(path)
        except LawmError as error:
            self._refuse(path, _short(error))
            return {}
        if not isinstance(value, dict):
            self._refuse(path, f"it holds {type(value).__name__}, expected settings")
            return {}
        return value

    def rows(self, path: Path) -> list[dict[str, str]]:
        """The whole lines of a CSV file; of the last one a killed writer may have left a part."""
        text = self.text(path)
        if text is None:
            return []
        whole = text[: text.rfind("\n") + 1]
        rows = []
        try:
            reader = csv.DictReader(io.StringIO(whole, newline=""), restkey="", restval="")
            for row in reader:
                row.pop("", None)  # cells beyond the header's
                rows.append(row)
        except csv.Error as error:
            self._refuse(path, f"it is not CSV after {len(rows)} rows ({_short(error)})")
        return rows

    def curves(self, path: Path) -> dict[str, Curve]:
        """The columns of a metrics.csv by name, each without the rows that lack it."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        bad = 0
        for row in self.rows(path):
            step = number(row.pop("step", None))
            for name, cell in row.items():
                if not cell or not name:
                    continue
                value = number(cell)
                if step is None or value is None:
                    bad += not _is_nonfinite(cell)
                    continue
                steps, values = found.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
        if bad:
            self._refuse(path, f"{bad} of its cells are no numbers")
        return {name: Curve(np.array(s), np.array(v)) for name, (s, v) in found.items()}

    def _refuse(self, path: Path, reason: str) -> None:
        name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.damaged.append(f"{name} is damaged: {reason}. What it holds is left out.")


def number(value: object) -> float | None:
    """A number, also from text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if abs(result) <= MAX_NUMBER else None  # not of NaN either


def numbers(value: object) -> list[float]:
    """The finite numbers of a list; [] for anything else."""
    if not isinstance(value, list):
        return []
    return [found for item in value if (found := number(item)) is not None]


def part(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A mapping inside mappings; {} where there is none."""
    for key in keys:
        inner = value.get(key)
        if not isinstance(inner, dict):
            return {}
        value = inner
    return dict(value)


def _is_nonfinite(cell: str) -> bool:
    """Whether a logger wrote a number that is none: a gap in the curve, not damage."""
    return cell.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} …"


__all__ = ["Curve", "FileReader", "number", "numbers", "part"]
