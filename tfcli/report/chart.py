"""Plots as SVG text that sits inside an HTML page and takes its colours from the page's CSS.

The classes are: `axis` and `grid` for lines, `tick` and `name` for words, `sN` for the colour of
series N. Nothing depends on the machine, so the same figures make the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from tfcli.report.labels import Box, place, text_width
from tfcli.report.scale import Axis, tick_text

FONT = 12.5
"""Height of the letters in drawing units; a chart is shown at about one unit a pixel."""


@dataclass(frozen=True)
class Series:
    """One set of points.

    Args:
        points: (x, y), in order.
        color: the number of its colour.
        name: written beside the last point when the series is a line.
        labels: one text a point, written beside it.
        line: joined by a line.
        dots: drawn as dots.
        faint: a pale line that stands behind the others, without a name.
        ringed: the index of the point that gets a ring.
    """

    points: tuple[tuple[float, float], ...]
    color: int
    name: str = ""
    labels: tuple[str, ...] = ()
    line: bool = True
    dots: bool = False
    faint: bool = False
    ringed: int | None = None


@dataclass(frozen=True)
class Frame:
    """The drawing's size and the plot's place in it, in drawing units."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def x(self, axis: Axis, value: float) -> float:
        """The horizontal place of a value."""
        return self.left + axis.at(value) * (self.width - self.left - self.right)

    def y(self, axis: Axis, value: float) -> float:
        """The vertical place of a value; small values are low."""
        return self.height - self.bottom - axis.at(value) * (self.height - self.top - self.bottom)


def xy_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    title: str,
    x_name: str,
    y_name: str,
    width: float = 480,
    height: float = 300,
) -> str:
    """A chart of lines and points with two axes.

    Args:
        title: for screen readers; the page sets its own heading.
        x_name: what the horizontal axis shows, with its unit.
        y_name: what the vertical axis shows, with its unit; written above the axis.
    """
    side = 14 + max((text_width(tick_text(tick), FONT) for tick in y.ticks), default=0)
    names = max((text_width(one.name, FONT) for one in series if one.name), default=0)
    frame = Frame(width, height, left=side, right=max(14, names + 16), top=30, bottom=42)
    body = [*_axes(frame, x, y, x_name, y_name)]
    body += [_line(frame, one, x, y) for one in series if one.line and len(one.points) > 1]
    for one in series:
        body += _dots(frame, one, x, y)
    body += _labels(frame, series, x, y)
    return _svg(width, height, title, body)


def bar_chart(
    rows: Sequence[tuple[str, float, str, int]],
    *,
    title: str,
    width: float = 480,
    bar: float = 18,
) -> str:
    """Horizontal bars from 0.

    Args:
        rows: (name, value, the value as text, colour number), from top to bottom.
        title: for screen readers.
    """
    pitch = bar + 10
    left = 10 + max(text_width(name, FONT) for name, *_ in rows)
    right = 12 + max(text_width(text, FONT) for _, _, text, _ in rows)
    longest = max(value for _, value, _, _ in rows) or 1.0
    body = []
    for index, (name, value, text, color) in enumerate(rows):
        top = 4 + index * pitch
        middle = top + bar / 2 + FONT * 0.36
        length = (width - left - right) * value / longest
        body += [
            f'<text class="name" x="{_n(left - 8)}" y="{_n(middle)}" text-anchor="end">'
            f"{escape(name)}</text>",
            f'<rect class="s{color} bar" x="{_n(left)}" y="{_n(top)}" width="{_n(length)}" '
            f'height="{_n(bar)}" rx="2"/>',
            f'<text class="name" x="{_n(left + length + 6)}" y="{_n(middle)}">'
            f"{escape(text)}</text>",
        ]
    return _svg(width, 8 + len(rows) * pitch - 10, title, body)


def _axes(frame: Frame, x: Axis, y: Axis, x_name: str, y_name: str) -> list[str]:
    floor, right = frame.height - frame.bottom, frame.width - frame.right
    body = []
    for tick in y.ticks:
        at = _n(frame.y(y, tick))
        body.append(f'<path class="grid" d="M{_n(frame.left)} {at}H{_n(right)}"/>')
        body.append(
            f'<text class="tick" x="{_n(frame.left - 7)}" y="{_n(frame.y(y, tick) + 4)}" '
            f'text-anchor="end">{tick_text(tick)}</text>'
        )
    for tick in x.ticks:
        at = _n(frame.x(x, tick))
        body.append(f'<path class="axis" d="M{at} {_n(floor)}v4"/>')
        body.append(
            f'<text class="tick" x="{at}" y="{_n(floor + 18)}" text-anchor="middle">'
            f"{tick_text(tick)}</text>"
        )
    body.append(f'<path class="axis" d="M{_n(frame.left)} {_n(floor)}H{_n(right)}"/>')
    body.append(f'<text class="unit" x="0" y="13">{escape(y_name)}</text>')
    body.append(
        f'<text class="unit" x="{_n(right)}" y="{_n(floor + 36)}" text-anchor="end">'
        f"{escape(x_name)}</text>"
    )
    return body


def _line(frame: Frame, series: Series, x: Axis, y: Axis) -> str:
    places = " ".join(f"{_n(frame.x(x, a))} {_n(frame.y(y, b))}" for a, b in series.points)
    kind = "faint" if series.faint else "line"
    return f'<path class="s{series.color} {kind}" d="M{places}"/>'


def _dots(frame: Frame, series: Series, x: Axis, y: Axis) -> list[str]:
    body = []
    for index, (a, b) in enumerate(series.points):
        at = f'cx="{_n(frame.x(x, a))}" cy="{_n(frame.y(y, b))}"'
        if series.dots:
            body.append(f'<circle class="s{series.color} dot" {at} r="4"/>')
        if index == series.ringed:
            body.append(f'<circle class="s{series.color} ring" {at} r="7.5"/>')
    return body


def _labels(frame: Frame, series: Sequence[Series], x: Axis, y: Axis) -> list[str]:
    """The labels of points and the names of lines, kept from lying on one another."""
    wanted, taken = [], []
    for one in series:
        places = [(frame.x(x, a), frame.y(y, b)) for a, b in one.points]
        if one.dots:
            taken += [Box(a - 5, b - 5, a + 5, b + 5) for a, b in places]
        if one.line:
            taken += _trail(places)
        if one.name and places:
            wanted.append((places[-1], one.name, one.color, True))
        labels = zip(places, one.labels, strict=False)
        wanted += [(at, text, one.color, False) for at, text in labels if text]
    body = []
    inner = Box(frame.left, frame.top - 8, frame.width, frame.height - frame.bottom)
    # The names of lines have one place only, so they take theirs first.
    for at, text, color, is_name in sorted(wanted, key=lambda one: not one[3]):
        label = place(at, text, FONT, inner, taken, right_only=is_name)
        taken.append(label.box)
        body.append(
            f'<text class="s{color} label" x="{_n(label.x)}" y="{_n(label.box.bottom - 3)}" '
            f'text-anchor="{label.anchor}">{escape(text)}</text>'
        )
    return body


def _trail(places: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along a line, so that labels keep off it."""
    boxes = []
    for (ax, ay), (bx, by) in pairwise(places):
        count = max(1, round(max(abs(bx - ax), abs(by - ay)) / 6))
        for index in range(count):
            x, y = ax + (bx - ax) * index / count, ay + (by - ay) * index / count
            boxes.append(Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5))
    return boxes


def _svg(width: float, height: float, title: str, body: list[str]) -> str:
    inner = "\n".join(body)
    return (
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{escape(title)}" '
        f'font-size="{FONT}" style="max-width:{_n(width * 1.1)}px">\n{inner}\n</svg>'
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
