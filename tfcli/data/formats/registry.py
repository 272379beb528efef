"""The formats of rows, and which one some rows have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tfcli.data.formats.alpaca import ALPACA
from tfcli.data.formats.format import Format
from tfcli.data.formats.messages import MESSAGES
from tfcli.data.formats.pair import COMPLETION
from tfcli.data.formats.plain import TEXT
from tfcli.data.formats.sample import Sample
from tfcli.data.formats.sharegpt import SHAREGPT
from tfcli.data.rows import Row
from tfcli.errors import UsageError, WorkError, hint

FORMATS = {each.name: each for each in (TEXT, MESSAGES, SHAREGPT, COMPLETION, ALPACA)}
"""Name -> format; the first one whose columns a row has is the one that it is taken for."""


def find_format(row: Row, columns: Mapping[str, str], name: str | None = None) -> Format | None:
    """The format of some rows, from the first of them.

    Args:
        row: the first row, as the file has it.
        columns: column of a format -> the name that it has in the file.
        name: the format, where it is known; only the columns are checked then.

    Returns:
        the format; None where the row has the columns of none

    Raises:
        UsageError: a column that no format has, or that the rows do not have.
    """
    known = (
        FORMATS[name].columns if name else [c for each in FORMATS.values() for c in each.columns]
    )
    for column, there in columns.items():
        if column not in known:
            raise UsageError(
                f"{column!r} is no column of {f'the format {name}' if name else 'any format'}",
                where="columns",
                fix=hint(column, known) or f"one of {', '.join(dict.fromkeys(known))}",
            )
        if there not in row.values:
            raise UsageError(
                f"the first row has no {there!r}, which {column!r} is to be read from",
                where=f"columns ({row.where})",
                fix=hint(there, row.values),
            )
    if name:
        return FORMATS[name]
    renamed = with_columns(row, columns)
    return next((each for each in FORMATS.values() if each.fits(renamed)), None)


def unknown_format(row: Row) -> WorkError:
    """The error that rows have no format that is known."""
    return WorkError(
        f"a row with {', '.join(map(repr, row.values)) or 'no column'} is of no known format",
        where=row.where,
        fix="name the columns, as in `columns: {prompt: question, completion: answer}`; "
        "rows are like " + " or ".join(each.example for each in FORMATS.values()),
    )


def read_sample(row: Row, found: Format, columns: Mapping[str, str]) -> Sample:
    """What a row says.

    Raises:
        WorkError: it is not of the format; names the row.
    """
    for name in found.needs:
        there = columns.get(name, name)
        if there not in row.values:
            raise WorkError(
                f"the row has no {there!r}, which the format {found.name} needs",
                where=row.where,
                fix=hint(there, row.values),
            )
    return found.read(with_columns(row, columns))


def with_columns(row: Row, columns: Mapping[str, str]) -> Row:
    """A row with its columns under a format's names."""
    if not columns:
        return row
    found = {name: row.values[there] for name, there in columns.items() if there in row.values}
    return replace(row, values={**row.values, **found})
