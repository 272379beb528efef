"""Plots of speed and memory along the batch and the length, as files of their own (SVG)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from tfcli.benchmark.result import BenchmarkResult, BenchmarkRow
from tfcli.benchmark.spec import OF_A_TEXT
from tfcli.benchmark.text import names_of
from tfcli.report.chart import Series, xy_chart
from tfcli.report.scale import linear_axis, log_axis

ALONG = {"batch": "batch_size", "length": "length"}
COLORS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#8c959f", "#1b1f24")
STYLE = (
    "svg{background:#fff;font-family:system-ui,sans-serif}.grid{stroke:#eaeef2;fill:none}"
    ".axis{stroke:#59636e;fill:none}.tick,.unit{fill:#59636e}.line{fill:none;stroke-width:2}"
    ".label{font-weight:600}"
    + "".join(
        f".s{n}.line{{stroke:{color}}}.s{n}.dot,.s{n}.label{{fill:{color}}}"
        for n, color in enumerate(COLORS)
    )
)


def plots(result: BenchmarkResult, *, log: bool) -> dict[str, str]:
    """File name -> SVG, for every case and axis along which it was measured at two sizes or more.

    Args:
        log: both axes are logarithmic.
    """
    found = {}
    for case in OF_A_TEXT:
        for word, key in ALONG.items():
            rows = [row for row in result.rows if row.case == case]
            if len({getattr(row, key) for row in rows}) < 2:
                continue
            rate = rows[0].tokens_per_second is not None
            speed, name = (_rate, "tokens/s") if rate else (_milliseconds, "ms")
            drawn = _plot(result, rows, key, speed, f"{case}, {name}", log)
            found[f"{case}-{word}.svg"] = drawn
            memory = _plot(result, rows, key, _gigabytes, f"{case}, peak memory, GB", log)
            found[f"{case}-{word}-memory.svg"] = memory
    return found


def _plot(
    result: BenchmarkResult,
    rows: list[BenchmarkRow],
    key: str,
    figure: Callable[[BenchmarkRow], float],
    name: str,
    log: bool,
) -> str:
    names = {id(row): text for row, text in zip(result.rows, names_of(result), strict=True)}

    def label(row: BenchmarkRow) -> str:
        other = "length" if key == "batch_size" else "batch_size"
        said = [names[id(row)], f"{other.removesuffix('_size')} {getattr(row, other)}"]
        return ", ".join([*said, *([row.cache] if row.cache not in (None, "dynamic") else [])])

    series = []
    for color, (text, line) in enumerate(groupby(sorted(rows, key=label), label)):
        points = tuple(sorted((float(getattr(row, key)), figure(row)) for row in line))
        series.append(Series(points, color % len(COLORS), text, dots=True))
    axis = log_axis if log else linear_axis
    x = axis([a for one in series for a, _ in one.points])
    y = [b for one in series for _, b in one.points]
    drawn = xy_chart(
        series,
        x,
        log_axis(y) if log else linear_axis(y, zero=True),
        title=f"{name} along the {key.replace('_', ' ')}",
        x_name="texts at once" if key == "batch_size" else "tokens of each text",
        y_name=name,
        width=760,
        height=400,
    )
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        "\n", f"\n<style>{STYLE}</style>\n", 1
    )


def _rate(row: BenchmarkRow) -> float:
    assert row.tokens_per_second is not None
    return row.tokens_per_second


def _milliseconds(row: BenchmarkRow) -> float:
    return row.seconds * 1000


def _gigabytes(row: BenchmarkRow) -> float:
    most = row.device_memory_bytes
    return (row.peak_memory_bytes if most is None else most) / 1e9
