"""A sweep as a page: the table, best first, and the plot of what is best for its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfcli.report.chart import Series, xy_chart
from tfcli.report.page import Figure, Page, Section, Table, Tile
from tfcli.report.scale import linear_axis
from tfcli.sweep.points import short_key, shown, value_text
from tfcli.sweep.result import SweepPoint, SweepResult
from tfcli.units import plural

POINT, FRONT = 1, 2  # colours


def lay_out(result: SweepResult) -> Page:
    """The page of a sweep, whether it has ended or not."""
    counts = {
        name: sum(point.status == name for point in result.points)
        for name in ("done", "failed", "to come")
    }
    said = [plural(len(result.points), "point")]
    said += [f"{count} {name}" for name, count in counts.items() if count and name != "done"]
    tiles: tuple[Tile, ...] = ()
    best = next((point for point in result.points if point.number == result.best), None)
    if best is not None:
        value = number_text(best.value)
        tiles = (Tile(value, result.by, f"the {result.goal}: {shown(best.settings)}"),)
    figure = _front(result)
    rows = tuple(row(point, result) for point in result.points)
    marked = (0,) if best is not None else ()
    table = Table(columns(result), rows, words(result), marked)
    section = Section(
        "Points, best first",
        f"Sorted by {result.by}, the {result.goal} first.",
        figures=() if figure is None else (figure,),
        tables=(table,),
        notes=tuple(
            f"{point.number} failed{f' in {point.error.step}' if point.error.step else ''}: "
            f"{point.error.what}"
            for point in result.points
            if point.error is not None
        ),
    )
    return Page(f"{result.recipe}: a sweep", ", ".join(said), tiles, (section,))


def columns(result: SweepResult) -> tuple[str, ...]:
    """The table's heads: the point, each key that is swept, the figures."""
    second = () if result.against is None else (result.against, "front")
    keys = (short_key(key) for key in _keys(result))
    return ("point", *keys, result.by, *second, "seconds")


def row(point: SweepPoint, result: SweepResult) -> tuple[str, ...]:
    """A point's cells; those of keys that it leaves as the recipe has them are empty."""
    values = point.settings
    cells = [value_text(values[key]) if key in values else "" for key in _keys(result)]
    figure = number_text(point.value) if point.status == "done" else point.status
    second = () if result.against is None else (number_text(point.against), "*" * point.front)
    return (str(point.number), *cells, figure, *second, f"{point.seconds:.1f}")


def words(result: SweepResult) -> int:
    """How many of the first columns hold words."""
    return 1 + len(_keys(result))


def number_text(value: float | None) -> str:
    """A figure with the digits that tell points apart: 12,345, 3.8291, 1.2e-05; "" for none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if math.isfinite(value) and value == int(value) else f"{value:.5g}"


def _keys(result: SweepResult) -> list[str]:
    ordered = sorted(result.points, key=lambda point: point.number)
    return list(dict.fromkeys(key for point in ordered for key in point.settings))


def _front(result: SweepResult) -> Figure | None:
    """The plot of both figures; none where fewer than two points have them."""
    points = [point for point in result.points if _can_be_drawn(point)]
    if result.against is None or len(points) < 2:
        return None
    places = [_place(point) for point in points]
    front = sorted((point for point in points if point.front), key=_place)
    ringed = next((at for at, point in enumerate(front) if point.number == result.best), None)
    series = [
        Series(
            tuple(places),
            POINT,
            labels=tuple(str(point.number) for point in points),
            line=False,
            dots=True,
        ),
        Series(tuple(map(_place, front)), FRONT, dots=True, ringed=ringed),
    ]
    drawing = xy_chart(
        series,
        linear_axis([x for x, _ in places], count=5),
        linear_axis([y for _, y in places], count=5),
        title=f"{result.by} against {result.against}",
        x_name=result.against,
        y_name=result.by,
        height=320,
    )
    return Figure(
        drawing,
        f"Points by number. No point is better than those on the line in one figure and as good in "
        f"the other ({result.by}: {result.goal}; {result.against}: {result.against_goal}).",
    )


def _can_be_drawn(point: SweepPoint) -> bool:
    figures: Sequence[float | None] = (point.value, point.against)
    return all(each is not None and math.isfinite(each) for each in figures)


def _place(point: SweepPoint) -> tuple[float, float]:
    assert point.against is not None and point.value is not None
    return point.against, point.value
