"""Columns of .csv and .parquet files, through the optional `datasets` library."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tfcli.errors import WorkError, hint


def read_table(path: Path, column: str) -> list[str]:
    """The texts of one column.

    Raises:
        WorkError: `datasets` is not installed, the file is broken, there is no such column, or it
            holds something other than text; the row is named.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise WorkError(
            f"{path.suffix} files need the datasets library",
            where=str(path),
            fix="pip install 'tfcli[data]'",
        ) from error
    read = Dataset.from_parquet if path.suffix == ".parquet" else Dataset.from_csv
    with tempfile.TemporaryDirectory() as cache:
        try:
            table = read(str(path), cache_dir=cache, keep_in_memory=True)
        except Exception as error:
            # The library wraps the reason; the innermost error says what is wrong with the file.
            reason: BaseException = error
            while reason.__cause__ is not None:
                reason = reason.__cause__
            raise WorkError(f"not readable as a table: {reason}", where=str(path)) from error
        if column not in table.column_names:
            raise WorkError(
                f"there is no column {column!r}",
                where=str(path),
                fix=hint(column, table.column_names),
            )
        texts = list(table[column])
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise WorkError(f"row {row} of {column!r} is not text", where=str(path))
    return texts
