import pytest

from lawm.schedules import warmup_and_cooldown


def test_rise_plateau_and_fall():
    factor = warmup_and_cooldown(10, 100, 0.4, floor=0.05)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(50) == factor(60) == 1.0
    assert factor(80) == pytest.approx(0.5)
    assert factor(99) == factor(200) == pytest.approx(0.05)


def test_an_unlimited_stage_does_not_fall():
    factor = warmup_and_cooldown(0, -1, 0.4)
    assert factor(0) == factor(10**9) == 1.0
