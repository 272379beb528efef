"""Which part of the data is held out."""

from __future__ import annotations

import numpy as np
import pytest

from tfcli.errors import UsageError
from tfcli.train.feeds.held_out import held_out, text_key

KEYS = np.array([text_key(str(number)) for number in range(200)])


def test_a_share_of_the_items_is_held_out():
    assert held_out(KEYS, 0.05).sum() == 10
    assert held_out(KEYS, 0.001).sum() == 1
    assert held_out(KEYS[:3], 0.99).sum() == 2


def test_equal_items_stay_together():
    keys = np.concatenate([KEYS, KEYS[::-1], KEYS[:50]])
    out = held_out(keys, 0.1)
    assert not set(keys[out]) & set(keys[~out])


def test_it_is_the_same_in_any_order_and_few_more_items_change_little():
    out = set(KEYS[held_out(KEYS, 0.1)])
    assert set(KEYS[::-1][held_out(KEYS[::-1], 0.1)]) == out
    more = np.concatenate([KEYS, [text_key("one more")]])
    assert len(out & set(more[held_out(more, 0.1)])) >= 19


def test_items_that_are_all_equal_cannot_be_divided():
    with pytest.raises(UsageError, match="none of them can be held out"):
        held_out(np.array([7, 7, 7]), 0.5)
