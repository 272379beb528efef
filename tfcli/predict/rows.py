"""Rows of a file as inputs of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcli.data.row_files import Lines
from tfcli.data.rows import Row, Rows, read_rows
from tfcli.errors import Problem, UsageError, WorkError, hint
from tfcli.predict.batches import Asked
from tfcli.predict.spec import PredictSpec
from tfcli.predict.task import Task
from tfcli.recipe.content import is_stream

FOLDER = "folder"
"""The key of a row's folder among the inputs of a task; paths in the row lead on from there."""


def open_input(spec: PredictSpec) -> Sequence[Row]:
    """The rows that a spec names.

    Raises:
        UsageError: a kind of file that has no rows.
        WorkError: a broken file, or no rows at all.
    """
    path = Path(spec.input)
    if not is_stream(path):
        return read_rows(path)
    rows = Rows([Lines(path)])
    if not rows:
        raise WorkError("there are no rows on it", where=spec.input)
    return rows


def check_columns(task: type[Task[Any]], spec: PredictSpec, rows: Sequence[Row]) -> None:
    """Refuse names of inputs that a task has not, and columns to keep that the first row which can
    be read has not.

    Raises:
        UsageError: naming one.
    """
    columns = _first_columns(rows) if spec.keep else []
    for name in spec.keep:
        if name not in columns:
            raise UsageError(
                f"the rows have no column {name!r}", where="keep", fix=hint(name, columns)
            )
    known = (*task.inputs, *task.optional)
    for name in spec.columns:
        if name not in known:
            raise UsageError(
                f"{task.name} has no input {name!r}",
                where="columns",
                fix=f"its inputs: {', '.join(known)}",
            )


def _first_columns(rows: Sequence[Row]) -> list[str]:
    for number in range(len(rows)):
        try:
            return list(rows[number].values)
        except Problem:
            continue  # it is told in its place
    return []


def inputs_of(
    task: type[Task[Any]], values: Mapping[str, Any], columns: Mapping[str, str], folder: Path
) -> dict[str, Any] | Problem:
    """What a task is given of a row; what is wrong where the row lacks some of it."""
    found: dict[str, Any] = {FOLDER: folder}
    for name in (*task.inputs, *task.optional):
        column = columns.get(name, name)
        value = values.get(column)
        if value is not None:
            found[name] = value
        elif name in task.inputs:
            return WorkError(
                f"the row has no {column!r}", fix=f"columns: {{{name}: a column that it has}}"
            )
    return found


def asked(
    task: type[Task[Any]], rows: Sequence[Row], spec: PredictSpec, first: int
) -> Iterator[Asked]:
    """The rows from one on, as `answers` takes them."""
    for number in range(first, len(rows)):
        try:
            row = rows[number]
        except Problem as problem:
            yield Asked(problem, f"row {number}")
            continue
        kept = {name: row.values.get(name) for name in spec.keep}
        yield Asked(inputs_of(task, row.values, spec.columns, row.folder), row.where, kept)
