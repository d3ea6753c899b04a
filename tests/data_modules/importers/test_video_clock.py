"""Which frames become steps, judged against what a player shows."""

from __future__ import annotations

import numpy as np
import pytest

from lawm.data_modules.importers.video_clock import EARLY, Clock, CountingClock, GridClock


def shown(clock: Clock, times: list[float], duration: float) -> list[int]:
    """The number of the frame that each step shows; -1 where the trajectory ends."""
    steps: list[int] = []
    for number, time in enumerate(times):
        seen = clock.next(time)
        steps += [number - 1] * seen.steps + [-1] * bool(seen.gap)
    return steps + [len(times) - 1] * clock.end(duration).steps


@pytest.mark.parametrize("rate", [23.976, 25.0, 29.97, 30.0, 50.0, 60.0, 120.0])
@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize("tick", [0.0, 1e-3])
def test_an_even_rate_gives_every_nth_frame(rate: float, every: int, tick: float) -> None:
    times = np.arange(1000) / rate
    times = np.round(times / tick) * tick if tick else times  # as Matroska does
    steps = shown(GridClock(every / rate), times.tolist(), 1 / rate)
    assert steps == list(range(0, 1000, every))


@pytest.mark.parametrize("repeats", [2, 5])
def test_a_slow_video_repeats_its_frames(repeats: int) -> None:
    steps = shown(GridClock(0.1 / repeats), [0.1 * t for t in range(50)], 0.1)
    assert steps == [t for t in range(50) for _ in range(repeats)]


@pytest.mark.parametrize("seed", range(20))
def test_uneven_times_show_what_is_on_the_screen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = float(rng.uniform(0.01, 0.1))
    gaps = rng.choice([0.004, 0.03, 0.1, 0.7], 200) * rng.uniform(0.5, 1.5, 200)
    times = np.cumsum(gaps) - gaps[0] + 5.0  # a video need not begin at zero
    steps = shown(GridClock(step), times.tolist(), 0.05)
    early = EARLY * np.minimum(step, np.diff(times, prepend=times[0] - 1.0))
    for number, frame in enumerate(steps):
        at = times[0] + number * step
        assert frame == np.flatnonzero(times - early <= at + 1e-9)[-1]
    assert len(steps) == pytest.approx((times[-1] + 0.05 - times[0]) / step, abs=1.5)


def test_a_gap_and_time_that_runs_backwards_end_the_trajectory() -> None:
    times = [0.0, 0.1, 0.2, 9.0, 9.1, 0.3, 0.4]
    assert shown(GridClock(0.1), times, 0.1) == [0, 1, 2, -1, 3, 4, -1, 5, 6]


def test_two_frames_of_one_time_count_once() -> None:
    assert shown(GridClock(0.1), [0.0, 0.1, 0.1, 0.2], 0.1) == [0, 2, 3]


def test_no_declared_time_makes_more_than_a_few_steps() -> None:
    clock = GridClock(0.1)
    assert clock.end(5.0).steps == 0, "there was no frame"
    clock.next(0.0)
    assert clock.next(1e12).steps == 1
    assert clock.end(1e12).steps == 20, "two seconds"


def test_frames_by_number() -> None:
    times = [0.0, 0.5, 0.5, 0.1, 99.0, 99.1, 99.2]
    assert shown(CountingClock(3), times, 0.0) == [0, 3, 6]
    assert shown(CountingClock(1), times, 0.0) == list(range(7))
