from __future__ import annotations

import numpy as np
import pytest

from lawm.data_modules.window_sampler import WindowPool, WindowSampler

LENGTHS = np.array([5, 2, 4, 9, 3])
FIRST_ROW = np.concatenate([[0], np.cumsum(LENGTHS + 1)[:-1]])


def make_sampler(**changes):
    settings = {"batch_size": 10, "labelled_ratio": 0.5, "seed": 0} | changes
    labelled = WindowPool(FIRST_ROW[:3], LENGTHS[:3], 3)
    free = WindowPool(FIRST_ROW[3:], LENGTHS[3:], 3)
    return WindowSampler(labelled, free, **settings)


@pytest.mark.parametrize("window", range(1, 11))
def test_pool_holds_each_window_within_an_episode_once(window):
    pool = WindowPool(FIRST_ROW, LENGTHS, window)
    expected = [
        first + start
        for first, length in zip(FIRST_ROW, LENGTHS, strict=True)
        for start in range(length + 1)
        if start + window <= length
    ]
    assert pool.num_windows == len(expected)
    assert pool.num_skipped == sum(window > LENGTHS)
    assert pool.rows(np.arange(pool.num_windows)).tolist() == expected


def test_every_window_is_equally_likely():
    sampler = make_sampler()
    draws = [np.concatenate(sampler.rows(index)) for index in range(4000)]
    for half, pool in ((slice(0, 5), LENGTHS[:3]), (slice(5, 10), LENGTHS[3:])):
        _, counts = np.unique([draw[half] for draw in draws], return_counts=True)
        expected = 20_000 / len(counts)
        assert len(counts) == np.maximum(pool - 2, 0).sum()
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.77, 0.999, 1.0])
@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_labelled_share_is_exact_over_any_run_of_batches(ratio, batch_size):
    sampler = make_sampler(batch_size=batch_size, labelled_ratio=ratio)
    counts = np.array([sampler.num_labelled(index) for index in range(300)])
    for start in (0, 1, 17):
        total = np.cumsum(counts[start:])
        expected = batch_size * ratio * np.arange(1, len(total) + 1)
        assert np.abs(total - expected).max() <= 1.0 + 1e-9
    assert counts.max() - counts.min() <= 1
    assert 0 <= counts.min() <= counts.max() <= batch_size


def test_whole_number_of_labelled_rows_keeps_shapes_static():
    sampler = make_sampler(batch_size=100, labelled_ratio=0.29)
    assert {sampler.num_labelled(index) for index in range(1000)} == {29}


def test_rows_have_the_size_of_the_batch():
    sampler = make_sampler(labelled_ratio=0.25)
    for index in range(4):
        labelled, free = sampler.rows(index)
        assert (len(labelled), len(free)) == (
            sampler.num_labelled(index),
            10 - sampler.num_labelled(index),
        )


def test_batch_is_a_pure_function_of_seed_and_index():
    forward = [np.concatenate(make_sampler().rows(index)).tolist() for index in range(20)]
    sampler = make_sampler()
    backward = [np.concatenate(sampler.rows(index)).tolist() for index in reversed(range(20))]
    assert forward == backward[::-1]
    assert len({tuple(rows) for rows in forward}) == 20
    assert np.concatenate(make_sampler(seed=1).rows(0)).tolist() != forward[0]


def test_labelled_only_needs_no_free_windows():
    nothing = WindowPool(FIRST_ROW[:0], LENGTHS[:0], 3)
    pool = WindowPool(FIRST_ROW, LENGTHS, 3)
    sampler = WindowSampler(pool, nothing, batch_size=8, labelled_ratio=1.0, seed=0)
    labelled, free = sampler.rows(0)
    assert (len(labelled), len(free)) == (8, 0)
