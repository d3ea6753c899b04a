from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from lawm.data_modules.label_budget import (
    HELD_OUT_STREAM,
    LABEL_STREAM,
    EpisodeBudget,
    choose_episodes,
    parse_budget,
)
from lawm.errors import LawmError


@pytest.mark.parametrize(
    ("text", "share", "count"),
    [
        ("10%", Fraction(1, 10), None),
        ("2.5 %", Fraction(1, 40), None),
        ("100%", Fraction(1), None),
        ("all", Fraction(1), None),
        ("ALL", Fraction(1), None),
        ("12", None, 12),
        (12, None, 12),
        ("12 episodes", None, 12),
        ("1 episode", None, 1),
    ],
)
def test_parse(text, share, count):
    assert parse_budget(text, "labels") == EpisodeBudget(share=share, count=count)


@pytest.mark.parametrize("text", ["none", "0", 0, "0%", "0 episodes"])
def test_zero_where_allowed(text):
    assert parse_budget(text, "held_out", may_be_zero=True).num_episodes(100) == 0


@pytest.mark.parametrize("text", ["none", "0%"])
def test_zero_labels_are_refused(text):
    with pytest.raises(LawmError, match=r"data\.labels is '(none|0%)'.*at least one|not a number"):
        parse_budget(text, "labels")


@pytest.mark.parametrize("text", ["ten", "-3", "12 rows", "", "0.1", "10 percent"])
def test_nonsense_is_refused(text):
    with pytest.raises(LawmError, match=r"data\.labels is .* not a number of episodes: \"10%\""):
        parse_budget(text, "labels")


def test_more_than_everything_is_refused():
    with pytest.raises(LawmError, match=r"data\.held_out is '110%'.*100% or less"):
        parse_budget("110%", "held_out", may_be_zero=True)


@pytest.mark.parametrize(
    ("text", "available", "expected"),
    [("10%", 114, 11), ("10%", 115, 12), ("10%", 3, 1), ("all", 7, 7), ("12", 5, 12)],
)
def test_num_episodes(text, available, expected):
    assert parse_budget(text, "labels").num_episodes(available) == expected


@pytest.mark.parametrize("seed", range(5))
def test_smaller_budget_is_part_of_a_larger_one(seed):
    candidates = np.arange(3, 200, 4)
    chosen = [
        set(choose_episodes(candidates, count, seed=seed, stream=LABEL_STREAM).tolist())
        for count in range(len(candidates) + 1)
    ]
    assert all(small < large for small, large in itertools.pairwise(chosen))
    assert chosen[-1] == set(candidates.tolist())


def test_seed_and_stream_change_the_choice():
    candidates = np.arange(1000)
    choices = {
        tuple(choose_episodes(candidates, 10, seed=seed, stream=stream))
        for seed in range(10)
        for stream in (LABEL_STREAM, HELD_OUT_STREAM)
    }
    assert len(choices) == 20


def test_the_choice_is_the_same_on_every_machine():
    chosen = choose_episodes(np.arange(120), 6, seed=0, stream=LABEL_STREAM)
    assert chosen.tolist() == [17, 25, 27, 32, 96, 102]
