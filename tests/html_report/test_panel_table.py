"""The table of the panel and its verdict must not contradict each other."""

from __future__ import annotations

import json

import numpy as np

from lawm.html_report.panel_table import VERDICTS, panel_rows, panel_verdict
from lawm.panel import PanelFigures, verdict

FIRST_MISSED = {0: "collapsed", 1: "collapsed", 2: "leaking", 3: "not decoded", None: "usable"}


def test_the_first_missed_threshold_is_the_verdict():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        shuffled, error, r2 = rng.uniform((0.9, 0.3, 0.0), (3.0, 1.5, 1.0))
        rates = tuple(rng.choice([0.01, 0.5], size=2).tolist())
        figures = PanelFigures(r2, 0.9, rates, rates, shuffled, error, 0.1, 1.0)
        rows = panel_rows(json.loads(json.dumps(figures.as_dict())))
        missed = next((place for place, row in enumerate(rows) if row.passes is False), None)
        assert verdict(figures).name == FIRST_MISSED[missed]
        seen.add(FIRST_MISSED[missed])
    assert seen == set(VERDICTS) - {"not judged"}


def test_one_window_meets_or_misses_no_threshold_of_the_shuffled_ratio():
    figures = PanelFigures(0.9, 0.9, (0.5,), (0.5,), float("nan"), 1.0, 0.1, 1.0)
    assert verdict(figures).name == "not judged"
    rows = panel_rows(json.loads(json.dumps(figures.as_dict())))
    assert [row.passes for row in rows[:4]] == [True, None, True, True]


def test_an_unknown_verdict_is_not_shown_as_one():
    assert panel_verdict({"verdict": "splendid", "reason": 3}) == ("unknown", "")
    assert panel_verdict({}) == ("unknown", "")
    assert [row.passes for row in panel_rows({})[:4]] == [None] * 4
