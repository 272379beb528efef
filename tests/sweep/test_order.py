"""Which point is the best, and which are on the front."""

from typing import Any

from tfcli.recipe.sweep_section import SweepSection
from tfcli.sweep.order import best_first
from tfcli.sweep.result import SweepPoint


def point(number: int, value: float | None, against: float | None = None) -> SweepPoint:
    keys: dict[str, Any] = {"number": number, "settings": {}, "folders": {}}
    status = "failed" if value is None else "done"
    return SweepPoint(**keys, status=status, value=value, against=against)


def section(**keys: Any) -> SweepSection:
    return SweepSection(grid={"steps.a.b": [1]}, by="a.b", **keys)


def test_the_best_comes_first_and_what_failed_last() -> None:
    points = [point(1, 3.0), point(2, None), point(3, float("inf")), point(4, 2.0), point(5, 2.0)]
    lowest = best_first(points, section(goal="lowest"))
    assert [each.number for each in lowest] == [4, 5, 1, 3, 2]
    highest = best_first(points, section(goal="highest"))
    assert [each.number for each in highest] == [3, 1, 4, 5, 2]
    assert not any(each.front for each in lowest)


def test_the_front_is_what_no_other_point_beats() -> None:
    points = [point(1, 3.0, 10), point(2, 2.0, 20), point(3, 2.0, 30), point(4, 4.0, 10)]
    found = best_first(points, section(goal="lowest", against="c.d"))
    assert {each.number for each in found if each.front} == {1, 2}
    found = best_first(points, section(goal="lowest", against="c.d", against_goal="highest"))
    assert {each.number for each in found if each.front} == {3}


def test_equal_points_are_on_the_front_together() -> None:
    found = best_first([point(1, 1.0, 1), point(2, 1.0, 1)], section(goal="lowest", against="c.d"))
    assert all(each.front for each in found)
