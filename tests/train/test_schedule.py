"""Learning rate schedules."""

from __future__ import annotations

import pytest

from tfcli.train.schedule import make_schedule


def test_the_rate_warms_up_in_equal_steps_to_the_peak():
    factor = make_schedule("cosine", steps=100, warmup_steps=4, final_ratio=0.1)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_is_half_way_down_in_the_middle_and_ends_at_the_final_ratio():
    factor = make_schedule("cosine", steps=110, warmup_steps=10, final_ratio=0.2)
    assert factor(60) == pytest.approx(0.6)
    assert factor(35) > 0.8  # slow at first
    assert factor(110) == pytest.approx(0.2)


def test_linear_goes_down_evenly():
    factor = make_schedule("linear", steps=10, warmup_steps=0, final_ratio=0.5)
    assert [factor(step) for step in (0, 5, 10)] == [1.0, 0.75, 0.5]


def test_constant_stays_at_the_peak_whatever_the_final_ratio():
    factor = make_schedule("constant", steps=10, warmup_steps=2, final_ratio=0.0)
    assert [factor(step) for step in (0, 1, 5, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_a_warm_up_may_fill_the_whole_run():
    factor = make_schedule("cosine", steps=3, warmup_steps=3, final_ratio=0.0)
    assert factor(2) == 1.0
