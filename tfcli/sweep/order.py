"""The order of points, and those that are the best for what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.recipe.sweep_section import Goal, SweepSection
from tfcli.sweep.result import SweepPoint


def best_first(points: Sequence[SweepPoint], section: SweepSection) -> list[SweepPoint]:
    """The points in their order, with `front` set; points that are as good stay as they ran."""
    done = [point for point in points if point.status == "done"]
    others = [point for point in points if point.status != "done"]
    done.sort(key=lambda point: _cost(point.value, section.goal))
    front = front_of(done, section) if section.against is not None else set()
    return [point.model_copy(update={"front": point.number in front}) for point in [*done, *others]]


def front_of(points: Sequence[SweepPoint], section: SweepSection) -> set[int]:
    """The numbers of the points that no other one beats: better in one figure, as good in both."""
    costs = {
        point.number: (
            _cost(point.value, section.goal),
            _cost(point.against, section.against_goal or "lowest"),
        )
        for point in points
    }
    return {
        number
        for number, own in costs.items()
        if not any(
            other != own and other[0] <= own[0] and other[1] <= own[1] for other in costs.values()
        )
    }


def _cost(value: float | None, goal: Goal) -> float:
    assert value is not None, "a point that is done has its figures"
    return -value if goal == "highest" else value
