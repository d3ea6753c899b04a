"""One evaluation of a run, and the table of all of them."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lawm.atomic_write import write_atomically
from lawm.evaluation_result import EvaluationResult


@runtime_checkable
class PredictsReturn(Protocol):
    """A module with a critic, whose promise is shown beside the true return."""

    gamma: float  # discount of an agent step

    def start_value(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """The discounted return that the critic expects after n first observations: (n,)."""
        ...


@dataclass(frozen=True)
class EvaluationPoint:
    """One evaluation of a run, or the reason why there is none."""

    step: int  # the trainer's global step
    final: bool  # at the end of training
    result: EvaluationResult | None  # None where the simulator failed
    seconds: float  # wall clock
    error: str = ""
    discounted_return: float | None = None  # mean over the episodes; None without a critic
    imagined_value: float | None = None  # the critic's at the first observations, likewise

    @property
    def mean(self) -> float:
        """Mean return; NaN where the evaluation failed."""
        return self.result.mean if self.result else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words, fit for a checkpoint; :meth:`from_dict` restores it."""
        result = self.result
        return {
            "step": self.step,
            "final": self.final,
            "returns": list(result.returns) if result else [],
            "lengths": list(result.lengths) if result else [],
            "seeds": list(result.seeds) if result else [],
            "seconds": self.seconds,
            "error": self.error,
            "discounted_return": self.discounted_return,
            "imagined_value": self.imagined_value,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EvaluationPoint:
        """Inverse of :meth:`to_dict`."""
        result = None
        if not values["error"]:
            result = EvaluationResult(
                returns=tuple(values["returns"]),
                lengths=tuple(values["lengths"]),
                seeds=tuple(values["seeds"]),
                seconds=values["seconds"],
            )
        return cls(
            step=values["step"],
            final=values["final"],
            result=result,
            seconds=values["seconds"],
            error=values["error"],
            discounted_return=values["discounted_return"],
            imagined_value=values["imagined_value"],
        )

    def to_row(self, data_returns: tuple[float, float]) -> dict[str, str]:
        """The cells of the table by column; what is missing is empty.

        Args:
            data_returns: As for :func:`write_csv`.
        """
        result = self.result
        return {
            "step": str(self.step),
            "final": str(int(self.final)),
            "mean": _cell(result.mean if result else None),
            "std": _cell(result.std if result else None),
            "normalised": _cell(result.normalised(*data_returns) if result else None),
            "discounted_return": _cell(self.discounted_return),
            "imagined_value": _cell(self.imagined_value),
            "returns": " ".join(_cell(value) for value in result.returns) if result else "",
            "seconds": f"{self.seconds:.3f}",
            "error": self.error,
        }


_COLUMNS = (
    *("step", "final", "mean", "std", "normalised", "discounted_return", "imagined_value"),
    *("returns", "seconds", "error"),
)


def write_csv(path: Path, points: list[EvaluationPoint], data_returns: tuple[float, float]) -> None:
    """Replace the file as a whole, so that a resumed run has no rows of steps it takes back.

    Args:
        path: The file.
        points: A row each.
        data_returns: Mean and best return of the training data's episodes; NaN if unknown.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _COLUMNS)
    writer.writeheader()
    writer.writerows(point.to_row(data_returns) for point in points)
    write_atomically(path, table.getvalue())


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


__all__ = ["EvaluationPoint", "PredictsReturn", "write_csv"]
