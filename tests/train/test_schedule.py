"""Learning rate schedules."""

from __future__ import annotations

import pytest

from tfcli.train.moving_spec import ScheduleSection
from tfcli.train.pace import Length
from tfcli.train.schedule import make_schedule


def schedule(name, steps, warmup_steps, **options):
    section = ScheduleSection(name=name, **options)
    factor = make_schedule(section, Length(steps), warmup_steps)
    return lambda step: factor(step, 0.0)


def test_the_rate_warms_up_in_equal_steps_to_the_peak():
    factor = schedule("cosine", 100, 4, final_ratio=0.1)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_is_half_way_down_in_the_middle_and_ends_at_the_final_ratio():
    factor = schedule("cosine", 110, 10, final_ratio=0.2)
    assert factor(60) == pytest.approx(0.6)
    assert factor(35) > 0.8  # slow at first
    assert factor(110) == pytest.approx(0.2)


def test_linear_goes_down_evenly():
    factor = schedule("linear", 10, 0, final_ratio=0.5)
    assert [factor(step) for step in (0, 5, 10)] == [1.0, 0.75, 0.5]


def test_constant_stays_at_the_peak():
    factor = schedule("constant", 10, 2)
    assert [factor(step) for step in (0, 1, 5, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_a_warm_up_may_fill_the_whole_run():
    factor = schedule("cosine", 3, 3, final_ratio=0.0)
    assert factor(2) == 1.0


def test_wsd_stays_at_the_peak_and_then_falls_in_a_straight_line():
    factor = schedule("wsd", 100, 0, decay_share=0.2, final_ratio=0.5)
    assert [factor(step) for step in (0, 50, 80)] == pytest.approx([1.0, 1.0, 1.0])
    assert factor(90) == pytest.approx(0.75)
    assert factor(100) == pytest.approx(0.5)


def test_inverse_sqrt_falls_with_the_root_of_the_steps():
    factor = schedule("inverse-sqrt", 10_000, 100)
    assert factor(49) == 0.5
    assert [factor(step) for step in (100, 400, 1600)] == [1.0, 0.5, 0.25]


def test_polynomial_falls_with_a_power_of_what_is_left():
    factor = schedule("polynomial", 10, 0, power=3, final_ratio=0)
    assert factor(5) == pytest.approx(0.125)
