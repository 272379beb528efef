"""Which samples go into one row."""

from __future__ import annotations

import numpy as np
import pytest

from tfcli.train.feeds.packing import best_fit


def rooms(bins, sizes, room=10) -> list[int]:
    return sorted(room - sum(int(sizes[n]) for n in each) for each in bins)


def test_the_longest_come_first_and_each_goes_where_the_least_room_is_left():
    sizes = np.array([2, 6, 3, 8, 4, 7])
    assert best_fit(sizes, 10) == [[3, 0], [5, 2], [1, 4]]


@pytest.mark.parametrize("seed", range(5))
def test_every_sample_is_in_one_bin_and_no_bin_is_too_full(seed):
    sizes = np.random.default_rng(seed).integers(1, 101, 500)
    bins = best_fit(sizes, 100)
    assert sorted(n for each in bins for n in each) == list(range(500))
    assert min(rooms(bins, sizes, 100)) >= 0
    least = -(-int(sizes.sum()) // 100)
    assert least <= len(bins) <= 1.1 * least


def test_a_sample_as_long_as_the_room_is_alone():
    assert best_fit(np.array([10, 10, 1]), 10) == [[0], [1], [2]]


def test_samples_of_one_size_are_taken_in_their_order():
    assert best_fit(np.array([5, 5, 5, 5]), 10) == [[0, 1], [2, 3]]
