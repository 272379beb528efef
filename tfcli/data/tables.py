"""Columns of .csv and .parquet files. A value is the text that stands there, whatever it spells."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfcli.data.documents import read_text
from tfcli.errors import WorkError, hint


def read_table(path: Path, column: str) -> list[str]:
    """The texts of one column. Words such as null, NA and None are texts, and so are numbers.

    Raises:
        WorkError: the library that reads the file is not installed, the file is broken, there is
            no such column, or it holds something other than text; the row is named.
    """
    return _parquet(path, column) if path.suffix.lower() == ".parquet" else _csv(path, column)


def _csv(path: Path, column: str) -> list[str]:
    texts: list[str] = []
    with _cells_of_any_size():
        rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        try:
            names = next(rows, [])
            at = _place(path, column, names)
            for row in filter(None, rows):  # a blank line is no row
                if len(row) != len(names):
                    raise WorkError(
                        f"row {len(texts) + 1} has {len(row)} columns, and the header has "
                        f"{len(names)}",
                        where=f"{path}:{rows.line_num}",
                        fix="put quotes around a text with commas or line breaks",
                    )
                texts.append(row[at])
        except csv.Error as error:
            raise WorkError(
                f"not readable as a table: {error}", where=f"{path}:{rows.line_num}"
            ) from error
    return texts


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, column: str) -> list[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise WorkError(
            f"{path.suffix} files need the pyarrow library",
            where=str(path),
            fix="pip install 'tfcli[data]'",
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            _place(path, column, file.schema_arrow.names)
            values: list[Any] = file.read(columns=[column]).column(column).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"not readable as a table: {error}", where=str(path)) from error
    return [_text(value, row, path, column) for row, value in enumerate(values, 1)]


def _text(value: Any, row: int, path: Path, column: str) -> str:
    if isinstance(value, bytes):  # as libraries write texts that leave their kind unsaid
        try:
            return value.decode()
        except UnicodeDecodeError:
            found = "bytes that are no UTF-8"
    elif isinstance(value, str):
        return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    else:
        found = "null" if value is None else f"a {type(value).__name__}"
    raise WorkError(f"row {row} of {column!r} is not text, but {found}", where=str(path))


def _place(path: Path, column: str, names: list[str]) -> int:
    if column not in names:
        raise WorkError(f"there is no column {column!r}", where=str(path), fix=hint(column, names))
    return names.index(column)
