"""The report's part on speed and memory."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.benchmark.spec import BenchmarkResult, BenchmarkRow
from tfcli.report.figures import speed_figure
from tfcli.report.models import Model, Models
from tfcli.report.page import Figure, Section, Table
from tfcli.report.steps import Step
from tfcli.report.text import duration, megabytes, rate_text
from tfcli.units import format_bytes


def speed_sections(steps: Sequence[Step], models: Models) -> list[Section]:
    """One section a benchmark: only rows of one benchmark were measured under equal conditions."""
    runs = [step for step in steps if step.command == "benchmark"]
    return [
        _section(step, models, "Speed" if len(runs) == 1 else f"Speed: {step.name}")
        for step in runs
    ]


def _section(step: Step, models: Models, title: str) -> Section:
    found = step.value(BenchmarkResult)
    rows = [(models.of(step, row.model), row) for row in found.rows]
    threads = f", {found.threads} threads" if found.device == "cpu" else ""
    lead = (
        f"A prompt of {found.prompt_tokens:,} tokens and {found.new_tokens:,} new ones, batch 1, "
        f"on {found.device}{threads}; medians of {found.repeats}, each model in a process of its "
        "own."
    )
    notes = (
        "First token: from the folder to the first new token, in a new process. Peak memory counts "
        "the libraries and the weights; private memory is what no file backs.",
    )
    return Section(title, lead, _figures(rows), (_table(rows),), notes=notes)


def _figures(rows: Sequence[tuple[Model, BenchmarkRow]]) -> tuple[Figure, ...]:
    shown = (
        ("prefill, tokens/s", [row.prefill_tokens_per_second for _, row in rows]),
        ("decode, tokens/s", [row.decode_tokens_per_second for _, row in rows]),
    )
    return tuple(
        Figure(
            speed_figure(
                [
                    (model.label, rate, model.color)
                    for (model, _), rate in zip(rows, rates, strict=True)
                ],
                name,
            ),
            f"{name.capitalize()}: longer is better.",
        )
        for name, rates in shown
    )


def _table(rows: Sequence[tuple[Model, BenchmarkRow]]) -> Table:
    columns = [
        "model",
        "dtype",
        "MB",
        "load",
        "first token",
        "prefill, tokens/s",
        "decode, tokens/s",
        "peak memory",
    ]
    private = any(row.private_memory_bytes is not None for _, row in rows)
    device = any(row.device_memory_bytes is not None for _, row in rows)
    columns += ["private memory"] * private + ["device memory"] * device
    cells = []
    for model, row in rows:
        line = [
            model.label,
            row.dtype,
            megabytes(row.weight_bytes),
            duration(row.load_seconds),
            duration(row.first_token_seconds),
            rate_text(row.prefill_tokens_per_second),
            rate_text(row.decode_tokens_per_second),
            format_bytes(row.peak_memory_bytes),
        ]
        line += [_memory(row.private_memory_bytes)] * private
        line += [_memory(row.device_memory_bytes)] * device
        cells.append(tuple(line))
    return Table(tuple(columns), tuple(cells), words=2)


def _memory(count: int | None) -> str:
    return "–" if count is None else format_bytes(count)  # noqa: RUF001
