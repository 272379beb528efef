"""Axes: round ticks inside the axis, and values where they belong."""

import pytest

from tfcli.report.scale import Axis, linear_axis, log_axis, tick_text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ([1.6105, 1.625], (1.61, 1.615, 1.62, 1.625)),
        ([12, 87], (20, 40, 60, 80)),
    ],
)
def test_linear_ticks_are_round_and_cover_the_values(values, ticks):
    axis = linear_axis(values)
    assert axis.ticks == pytest.approx(ticks)
    assert axis.low < min(values) and axis.high > max(values)
    assert [len(tick_text(tick)) < 6 for tick in axis.ticks]


def test_an_axis_from_zero_starts_at_zero():
    assert linear_axis([5.0, 9.0], zero=True).low == 0


def test_one_value_alone_still_makes_an_axis():
    for value in (0.0, 3.0, -2.0):
        axis = linear_axis([value])
        assert axis.low < value < axis.high and axis.ticks
        assert 0 < axis.at(value) < 1


def test_equal_ratios_are_equal_steps_on_a_log_axis():
    axis = Axis(1e-4, 1e-2, (), log=True)
    assert [axis.at(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("values", [[2.2e-4, 4e-3], [2.1, 8.3], [3.0], [1e-9, 1.0], [2.0, 2.0001]])
def test_log_ticks_lie_inside_and_are_a_handful(values):
    axis = log_axis(values)
    assert axis.low < min(values) and axis.high > max(values)
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert 2 <= len(axis.ticks) <= 12


def test_a_short_log_axis_has_no_crowd_of_ticks():
    assert log_axis([6.1, 8.4]).ticks == (6.0, 6.5, 7.0, 7.5, 8.0, 8.5)


def test_ticks_are_written_short():
    texts = {0: "0", 0.25: "0.25", 1500: "1,500", 2e-4: "2e-4", 1.5e-4: "1.5e-4", 3e7: "3e7"}
    assert {value: tick_text(value) for value in texts} == texts
