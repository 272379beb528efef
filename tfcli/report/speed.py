"""The report's part on speed and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfcli.benchmark.result import BenchmarkRow
from tfcli.benchmark.spec import BenchmarkResult
from tfcli.report.figures import speed_figure
from tfcli.report.models import Model, Models
from tfcli.report.page import Figure, Section, Table
from tfcli.report.steps import Step
from tfcli.report.text import duration, megabytes, rate_text
from tfcli.units import format_bytes, plural

NOTHING = "–"  # noqa: RUF001
RATES = {"prefill": "prefill, tokens/s", "decode": "decode, tokens/s", "train": "train, tokens/s"}
TIMES = {"import": "import", "load": "load", "start": "start", "first-token": "first token"}


@dataclass
class Line:
    """What was measured of one model at one size, by case."""

    model: Model
    label: str
    rows: dict[str, BenchmarkRow] = field(default_factory=dict)

    @property
    def any(self) -> BenchmarkRow:
        """One of its rows, for what they have in common."""
        return next(iter(self.rows.values()))

    def most(self, memory: Callable[[BenchmarkRow], int | None]) -> str:
        """The most memory of any of its cases."""
        found = [size for row in self.rows.values() if (size := memory(row)) is not None]
        return format_bytes(max(found)) if found else NOTHING


def speed_sections(steps: Sequence[Step], models: Models) -> list[Section]:
    """One section a benchmark: only rows of one benchmark were measured under equal conditions."""
    runs = [step for step in steps if step.command == "benchmark"]
    return [
        _section(step, models, "Speed" if len(runs) == 1 else f"Speed: {step.name}")
        for step in runs
    ]


def _section(step: Step, models: Models, title: str) -> Section:
    found = step.value(BenchmarkResult)
    lines = _lines(step, models, found)
    threads = f", {plural(found.threads, 'thread')}" if found.device == "cpu" else ""
    rounds = len(found.rows[0].rounds) if found.rows else 0
    lead = (
        f"{_sizes(found)}On {found.device}{threads}; medians of {plural(rounds, 'round')}, each "
        "case in a process of its own."
    )
    notes = (
        "Start: from the folder to the first new token, in a new process. Peak memory counts the "
        "libraries and the weights; private memory is what no file backs.",
    )
    return Section(title, lead, _figures(lines), (_table(lines),), notes=notes)


def _sizes(found: BenchmarkResult) -> str:
    """What all rows have in common; what differs stands in their names."""
    sizes = {(row.batch_size, row.length) for row in found.rows if row.length is not None}
    if len(sizes) != 1:
        return ""
    ((batch, length),) = sizes
    new = next((row.new_tokens for row in found.rows if row.new_tokens), None)
    said = f"A prompt of {length:,} tokens" + (f" and {new:,} new ones" if new else "")
    return f"{said}, batch {batch}. "


def _lines(step: Step, models: Models, found: BenchmarkResult) -> list[Line]:
    """The rows by model, side and size; what has no size belongs to all of its model's lines."""
    places = [(row.model, row.side, row.batch_size, row.length, row.cache) for row in found.rows]
    keys = [key for key in dict.fromkeys(places) if key[3] is not None]
    # A case without a cache, as train, goes with the growing one.
    keys = [key for key in keys if key[4] or (*key[:4], "dynamic") not in keys]
    keys += [key for key in dict.fromkeys(places) if not any(key[:2] == each[:2] for each in keys)]
    several = len({key[2:] for key in keys}) > 1
    sides = len({key[1] for key in keys}) > 1
    lines = []
    for model, side, batch, length, cache in dict.fromkeys(keys):
        known = models.of(step, model)
        said = [known.label, *([side] if sides else [])]
        said += [f"{batch} x {length:,}"] if several and length is not None else []
        said += [cache] if cache not in (None, "dynamic") else []
        line = Line(known, ", ".join(said))
        for row in found.rows:
            here = row.batch_size in (None, batch) and row.length in (None, length)
            if (row.model, row.side) == (model, side) and here and row.cache in (None, cache):
                line.rows[row.case] = row
        lines.append(line)
    return lines


def _figures(lines: Sequence[Line]) -> tuple[Figure, ...]:
    figures = []
    for case in ("prefill", "decode"):
        bars = [
            (line.label, line.rows[case].tokens_per_second or 0.0, line.model.color)
            for line in lines
            if case in line.rows
        ]
        if bars:
            name = RATES[case]
            caption = f"{name.capitalize()}: longer is better."
            figures.append(Figure(speed_figure(bars, name), caption))
    return tuple(figures)


def _table(lines: Sequence[Line]) -> Table:
    cases = [case for case in (*TIMES, *RATES) if any(case in line.rows for line in lines)]
    rows = [row for line in lines for row in line.rows.values()]
    private = any(row.private_memory_bytes is not None for row in rows)
    device = any(row.device_memory_bytes is not None for row in rows)
    columns = ["model", "dtype", "MB", *((TIMES | RATES)[case] for case in cases), "peak memory"]
    columns += ["private memory"] * private + ["device memory"] * device
    cells = []
    for line in lines:
        texts = [line.label, line.any.dtype, megabytes(line.any.weight_bytes)]
        texts += [_cell(line, case) for case in cases]
        texts.append(line.most(lambda row: row.peak_memory_bytes))
        texts += [line.most(lambda row: row.private_memory_bytes)] * private
        texts += [line.most(lambda row: row.device_memory_bytes)] * device
        cells.append(tuple(texts))
    return Table(tuple(columns), tuple(cells), words=2)


def _cell(line: Line, case: str) -> str:
    row = line.rows.get(case)
    if row is None:
        return NOTHING
    return duration(row.seconds) if case in TIMES else rate_text(row.tokens_per_second or 0.0)
