"""A result as Markdown, in the flavour that GitHub renders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from tfcli.benchmark.result import (
    BenchmarkMemory,
    BenchmarkRegression,
    BenchmarkResult,
    BenchmarkRow,
)
from tfcli.benchmark.text import CELLS, cells, machine_text, names_of, sizes_text, time_text
from tfcli.units import format_bytes

COMPARED = ("row", "before", "now", "change", "beside the machine", "chance", "")
"""The columns of `compared_cells`."""
MEMORY = tuple(BenchmarkMemory.model_fields)


def page(result: BenchmarkResult, drawn: Sequence[str]) -> str:
    """The whole result.

    Args:
        drawn: file names of plots.
    """
    parts = [summary(result), _memory(result)]
    parts += [f"![{PurePath(name).stem}]({name})" for name in drawn]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(result: BenchmarkResult) -> str:
    """What a step of a workflow shows: what regressed, if anything, and every row."""
    parts = ["## tfcli benchmark"]
    if result.baseline is not None:
        parts += [_verdict(result), _compared(result)]
    parts += [_table(CELLS, [cells(result, row) for row in result.rows], texts=3), _facts(result)]
    return "\n\n".join(part for part in parts if part)


def _verdict(result: BenchmarkResult) -> str:
    found = result.finding()
    if found is not None:
        return f":x: **{_plain(found)}**"
    return f":white_check_mark: No row is slower than in {_plain(str(result.baseline))}."


def _compared(result: BenchmarkResult) -> str:
    order = sorted(result.compared, key=lambda item: (not item.regressed, -item.change))
    lines = [compared_cells(result, item) for item in order]
    return _table(COMPARED, lines, texts=1)


def compared_cells(result: BenchmarkResult, item: BenchmarkRegression) -> list[str]:
    """One comparison as texts, by COMPARED."""
    row = result.rows[item.row]
    to_limit = "" if item.change_to_limit is None else f"{item.change_to_limit:+.1%}"
    return [
        f"{names_of(result)[item.row]} {row.case} {sizes_text(row)}".strip(),
        time_text(item.before),
        time_text(item.after),
        f"{item.change:+.1%}",
        to_limit,
        f"{item.chance:.2g}",
        "slower" if item.regressed else "",
    ]


def _memory(result: BenchmarkResult) -> str:
    rows = [
        (name, row) for name, row in zip(names_of(result), result.rows, strict=True) if row.memory
    ]
    if not rows:
        return ""
    lines = [[name, row.case, sizes_text(row), *_parts(row)] for name, row in rows]
    head = (
        "Memory while a case runs: weights + gradients + optimizer states + forward activations + "
        "temporary, beside the program and, as generation needs them, keys and values."
    )
    table = _table(("model", "case", "sizes", *MEMORY, "sum"), lines, texts=3)
    return f"## Memory\n\n{head}\n\n{table}"


def _parts(row: BenchmarkRow) -> list[str]:
    assert row.memory is not None
    sizes = [int(getattr(row.memory, name)) for name in MEMORY]
    return [format_bytes(size) for size in [*sizes, sum(sizes)]]


def _facts(result: BenchmarkResult) -> str:
    return "\n".join(f"- {_plain(line)}" for line in [*machine_text(result), *result.notes])


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    rule = [":--" if place < texts else "--:" for place in range(len(names))]
    return "\n".join(
        "| " + " | ".join(_plain(cell) for cell in line) + " |" for line in [names, rule, *rows]
    )


def _plain(text: str) -> str:
    """A text without what Markdown, or HTML in it, reads as a command."""
    text = "".join(char if char.isprintable() else " " for char in text)
    for char in "\\|`*_<[":
        text = text.replace(char, f"&#{ord(char)};")
    return text
