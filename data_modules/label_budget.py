"""How many episodes carry labels, and which: a budget in words, and a choice nested by seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

# Second half of the generator's key: apart from each other, and from the batches of WindowSampler.
LABEL_STREAM = 2**63
HELD_OUT_STREAM = 2**63 + 1

EXPECTED = '"10%", "12 episodes", "12" or "all"'


@dataclass(frozen=True)
class EpisodeBudget:
    """A number of episodes as the user wrote it; exactly one of the two fields is set."""

    share: Fraction | None  # of the episodes that are there, 0 to 1
    count: int | None

    def num_episodes(self, available: int) -> int:
        """Episodes that the budget asks for out of ``available``; may ask for more than those.

        A share is rounded to the nearest count, and up to 1 unless it is zero.
        """
        if self.count is not None:
            return self.count
        assert self.share is not None, "an EpisodeBudget holds a share or a count"
        if self.share == 0:
            return 0
        return max(1, int(self.share * available + Fraction(1, 2)))


def parse_budget(text: str | int, key: str, *, may_be_zero: bool = False) -> EpisodeBudget:
    """Read ``"10%"``, ``"12 episodes"``, ``"12"`` or ``"all"``.

    Args:
        text: What the user wrote; YAML turns a bare 12 into a number.
        key: The name of the setting, for the message.
        may_be_zero: Allow ``"none"``, ``"0"`` and ``"0%"``.

    Raises:
        LawmError: The text is none of these, above 100%, or zero where that makes no sense.
    """
    words = str(text).strip().lower()
    expected = EXPECTED + (' or "none"' if may_be_zero else "")
    if words == "all":
        return EpisodeBudget(share=Fraction(1), count=None)
    if words == "none":
        budget = EpisodeBudget(share=None, count=0)
    elif match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", words):
        budget = EpisodeBudget(share=Fraction(match[1]) / 100, count=None)
    elif match := re.fullmatch(r"(\d+)(?:\s*episodes?)?", words):
        budget = EpisodeBudget(share=None, count=int(match[1]))
    else:
        raise LawmError(f"data.{key} is {text!r}, which is not a number of episodes: {expected}.")
    if budget.share is not None and budget.share > 1:
        raise LawmError(f"data.{key} is {text!r}, more than everything: write 100% or less.")
    if not may_be_zero and not (budget.share or budget.count):
        raise LawmError(f"data.{key} is {text!r}; expected at least one episode: {expected}.")
    return budget


def choose_episodes(
    candidates: NDArray[np.int64], count: int, *, seed: int, stream: int
) -> NDArray[np.int64]:
    """Choose ``count`` of the candidates, nested: fewer with the same seed are a subset of more.

    The order comes from the raw numbers of a counter-based generator, whose stream NumPy keeps
    the same over its versions (NEP 19).

    Args:
        candidates: (E,) episode numbers.
        count: How many to choose, at most E.
        seed: Which of the orders, a whole number from 0.
        stream: What is chosen, LABEL_STREAM or HELD_OUT_STREAM.

    Returns:
        (count,) the chosen numbers, sorted.
    """
    assert 0 <= count <= len(candidates), (count, len(candidates))
    key = np.array([seed, stream], np.uint64)
    ranks = np.random.Philox(key=key).random_raw(len(candidates))
    return np.sort(candidates[np.argsort(ranks, kind="stable")[:count]])


__all__ = ["HELD_OUT_STREAM", "LABEL_STREAM", "EpisodeBudget", "choose_episodes", "parse_budget"]
