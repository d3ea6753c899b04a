"""Returns as people read them, whether an episode earns 800 or a success is 1."""

from __future__ import annotations


def return_decimals(value: float) -> int:
    """How many decimal places tell returns of this size apart."""
    return 1 if abs(value) >= 10.0 or value == 0.0 else 2 if abs(value) >= 1.0 else 3


def return_number(value: float) -> str:
    """As "743.2", "7.43" or "0.743"."""
    return f"{value:.{return_decimals(value)}f}"


def mean_and_spread(mean: float, std: float | None) -> str:
    """As "743.2 ± 31.0", both to the places of the greater; the mean alone without a spread."""
    places = return_decimals(max(abs(mean), std or 0.0))
    return f"{mean:.{places}f}" + ("" if std is None else f" ± {std:.{places}f}")


__all__ = ["mean_and_spread", "return_decimals", "return_number"]
