"""Columns of .csv and .parquet files. A value is the text that stands there, whatever it spells."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.data.arrow import pyarrow_for
from tfcli.data.documents import read_text
from tfcli.errors import WorkError, hint
from tfcli.limits import MAX_TABLE, MAX_TABLE_GROWTH

_ROWS = 1_024  # of a table at once


def read_table(path: Path, column: str) -> list[str]:
    """The texts of one column. Words such as null, NA and None are texts, and so are numbers.

    Raises:
        WorkError: the library that reads the file is not installed, the file is broken, there is
            no such column, or it holds something other than text; the row is named.
    """
    return _parquet(path, column) if path.suffix.lower() == ".parquet" else _csv(path, column)


def _csv(path: Path, column: str) -> list[str]:
    texts: list[str] = []
    with cells_of_any_size():
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
def cells_of_any_size() -> Iterator[None]:
    """Let the csv module read cells of more than 128 KiB."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, column: str) -> list[str]:
    pa = pyarrow_for(path)
    pq = pa.parquet
    try:
        schema = pq.read_schema(path)
        kind = schema.field(_place(path, column, schema.names)).type
        texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        left = MAX_TABLE + MAX_TABLE_GROWTH * path.stat().st_size
        values: list[Any] = []
        # A value that stands in many rows is there once until its sizes are added up.
        with (
            OpenedFile(path).reading(),
            pq.ParquetFile(path, read_dictionary=[column] if texts else []) as file,
        ):
            for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
                left -= _size(batch.column(0))
                check_room(left, path)
                values += batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"not readable as a table: {error}", where=str(path)) from error
    return [_text(value, row, path, column) for row, value in enumerate(values, 1)]


def _size(values: Any) -> int:
    """The bytes of all values, each as often as it stands there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(values.type):
        return int(values.nbytes)
    each = pc.binary_length(values.dictionary).cast(pa.int64())
    return int(pc.sum(each.take(values.indices)).as_py() or 0)


def check_room(left: int, path: Path) -> None:
    """Refuse a table that says much more than its file could.

    Args:
        left: bytes that its values may still take.
    """
    if left < 0:
        raise WorkError(
            f"its texts take more than {MAX_TABLE:,} bytes and {MAX_TABLE_GROWTH} times the file",
            where=str(path),
            fix="get it from a source you trust, or give it as .jsonl",
        )


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
