"""Rows of data files: one mapping a line, a row or an entry, with what to call it in errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.strict_json import kind
from tfcli.data.documents import MARK, SPLITS, read_text
from tfcli.errors import UsageError, WorkError


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        values: column -> what the row has there.
        where: file and line or row, for errors.
    """

    values: Mapping[str, Any]
    where: str


def read_rows(path: Path | str, *, split: str = "train") -> list[Row]:
    """The rows of a data file, or of a folder's files.

    Args:
        path: a .jsonl, .json (a list of objects), .csv or .parquet file; a folder of such files, in
            the order of their names; or a folder with `<split>.jsonl`.
        split: which of a folder's train, validation and test to read.

    Raises:
        UsageError: nothing there, or a kind of file that has no rows.
        WorkError: a broken file, or no rows at all.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is no such file or folder: {path}", where="data")
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix.lower() in READERS)
        if any((path / f"{name}.jsonl").exists() for name in SPLITS):
            files = [path / f"{split}.jsonl"]
            if not files[0].exists():
                raise UsageError(f"the folder has no {split}.jsonl", where=str(path))
    rows = [row for file in files for row in _read(file)]
    if not rows:
        raise WorkError("there are no rows in it", where=str(path))
    return rows


def _read(path: Path) -> Iterator[Row]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"files of the kind {path.suffix or path.name!r} have no rows",
            where=str(path),
            fix=f"give a {', '.join(READERS)} file, or a folder of them",
        )
    return reader(path)


def _lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.removeprefix(MARK)
        if line.strip():
            yield _row(_parsed(line, f"{path}:{number}"), f"{path}:{number}")


def _entries(path: Path) -> Iterator[Row]:
    found = _parsed(read_text(path), str(path))
    if not isinstance(found, list):
        raise WorkError(f"is no list of objects, but {kind(found)}", where=str(path))
    for number, entry in enumerate(found, 1):
        yield _row(entry, f"{path}: entry {number}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkError(f"not JSON: {error}", where=where) from error


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise WorkError(f"is no JSON object, but {kind(value)}", where=where)
    return Row(value, where)


def _table(path: Path) -> Iterator[Row]:
    from tfcli.data.tables import read_columns

    for number, values in enumerate(read_columns(path), 1):
        yield Row(values, f"{path}: row {number}")


READERS = {".jsonl": _lines, ".json": _entries, ".csv": _table, ".parquet": _table}
