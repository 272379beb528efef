"""The report's figures, each from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcli.report.chart import Series, bar_chart, xy_chart
from tfcli.report.curve import Curve, Points, smoothed, thinned
from tfcli.report.scale import Axis, linear_axis, log_axis
from tfcli.report.text import rate_text

TRAIN, VALIDATION = 1, 2


@dataclass(frozen=True)
class Dot:
    """A model in a plot of quality against size."""

    label: str
    line: str
    """Models of the same line are joined, for example all of one method."""
    color: int
    bytes: int
    value: float


def loss_figure(curve: Curve, width: float, unit: str) -> str | None:
    """Training and validation loss over the steps, with the best validation marked."""
    if not curve.train and not curve.validation:
        return None
    smooth = smoothed(curve.train)
    series = []
    if curve.train:
        series.append(Series(thinned(curve.train), TRAIN, faint=True))
        series.append(Series(thinned(smooth), TRAIN, name="training"))
    if curve.validation:
        losses = [loss for _, loss in curve.validation]
        best = losses.index(min(losses))
        labels = [""] * len(losses)
        labels[best] = f"best {losses[best]:.3f}"
        series.append(
            Series(
                curve.validation,
                VALIDATION,
                name="validation",
                labels=tuple(labels),
                dots=len(losses) <= 40,
                ringed=best,
            )
        )
    everything = [*curve.train, *curve.validation]
    return xy_chart(
        series,
        _steps_axis(everything),
        _loss_axis([loss for _, loss in everything]),
        title="Training and validation loss over the steps",
        x_name="step",
        y_name="loss, nats a token" if unit == "token" else f"loss a {unit}",
        width=width,
        height=320,
    )


def course_figure(points: Points, name: str) -> str | None:
    """A small plot of one logged figure over the steps."""
    if len(points) < 2:
        return None
    return xy_chart(
        [Series(thinned(points, 200), TRAIN)],
        _steps_axis(points, count=4),
        linear_axis([value for _, value in points], count=4, zero=True),
        title=f"{name} over the steps",
        x_name="step",
        y_name=name,
        width=300,
        height=170,
    )


def size_figure(dots: Sequence[Dot], name: str, *, log: bool, width: float = 480) -> str | None:
    """Quality against bytes on disk, one point a model, the models of one line joined.

    Args:
        name: what the vertical axis shows; lower is better.
        log: logarithmic vertical axis; all values are then above 0.
    """
    if len(dots) < 2:
        return None  # one model alone compares with nothing
    lines = {dot.line: [] for dot in dots}  # type: dict[str, list[Dot]]
    for dot in dots:
        lines[dot.line].append(dot)
    series = []
    for members in lines.values():
        members.sort(key=lambda dot: dot.bytes)
        series.append(
            Series(
                tuple((dot.bytes / 1e6, dot.value) for dot in members),
                members[0].color,
                labels=tuple(dot.label for dot in members),
                dots=True,
            )
        )
    values = [dot.value for dot in dots]
    return xy_chart(
        series,
        linear_axis([dot.bytes / 1e6 for dot in dots], count=5),
        log_axis(values) if log else linear_axis(values, count=5),
        title=f"{name} against size on disk",
        x_name="weights on disk, MB",
        y_name=name,
        width=width,
        height=320,
    )


def compression_figure(rows: Sequence[tuple[str, float, int]], width: float = 480) -> str | None:
    """Bits a byte of text, of compressors and models, as bars.

    Args:
        rows: (name, bits a byte, colour number).
    """
    if not rows:
        return None
    bars = [(name, value, f"{value:.3f}", color) for name, value, color in rows]
    return bar_chart(bars, title="Bits per byte of text", width=width)


def speed_figure(rows: Sequence[tuple[str, float, int]], name: str) -> str:
    """Rates as bars.

    Args:
        rows: (name, rate, colour number).
        name: what the rate is, for screen readers.
    """
    return bar_chart(
        [(label, rate, rate_text(rate), color) for label, rate, color in rows],
        title=name,
    )


def _loss_axis(losses: Sequence[float]) -> Axis:
    """Logarithmic: the first steps fall far, and the interesting part is what comes after."""
    return log_axis(losses) if min(losses) > 0 else linear_axis(losses)


def _steps_axis(points: Sequence[tuple[float, float]], count: int = 7) -> Axis:
    steps = [step for step, _ in points]
    if min(steps) == max(steps):
        return linear_axis(steps, count=count)
    # Steps are whole and the plot ends with the last one.
    wide = linear_axis(steps, count=count, zero=True)
    ticks = tuple(tick for tick in wide.ticks if tick <= max(steps) and tick == int(tick))
    return Axis(0, max(steps), ticks)
