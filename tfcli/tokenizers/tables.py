"""Tables that a question is about: reading and checking them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tfcli.errors import WorkError
from tfcli.files import read_bounded
from tfcli.limits import MAX_SIDE
from tfcli.tokenizers.load import Tokenizer

Table = Sequence[Sequence[str]]
"""Rows of texts, all equally long; the first one names the columns."""


def read_table(path: Path | str) -> list[list[str]]:
    """The table in a CSV file.

    Raises:
        WorkError: no such file, not UTF-8, no CSV, or rows of different lengths.
    """
    where = str(path)
    try:
        text = read_bounded(Path(path), MAX_SIDE).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkError(f"is no CSV in UTF-8: {error}", where=where) from error
    return check_table([row for row in rows if row], where)


def check_table(table: Table, where: str = "table") -> list[list[str]]:
    """A copy of a table.

    Raises:
        WorkError: no row, rows of different lengths, or a cell that is no text.
    """
    rows = [list(row) for row in table]
    if not rows or not rows[0]:
        raise WorkError("a table has a row with the names of its columns", where=where)
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise WorkError(
                f"the row has {len(row)} cells, the table {len(rows[0])} columns",
                where=f"{where}, row {number}",
            )
        for cell in row:
            if not isinstance(cell, str):
                raise WorkError(
                    f"the cell {cell!r} is no text",
                    where=f"{where}, row {number}",
                    fix="write numbers as text, as they are shown",
                )
    return rows


def linearize(
    table: Table,
    question: str = "",
    *,
    tokenizer: Tokenizer | None = None,
    max_cell_length: int = 15,
    lowercase: bool = True,
) -> str:
    """A question and a table as TAPEX reads them (Liu et al. 2021).

    `question col : name | age row 1 : ada | 36 row 2 : ...`; a BART tokenizer encodes it.

    Args:
        table: rows of texts, the first with the names of the columns.
        question: before the table.
        tokenizer: of the model; cells are cut to `max_cell_length` of its tokens, as those that the
            model was trained with. Left out, they stay whole.
        lowercase: as the released models were trained.

    Raises:
        WorkError: as `check_table`.
    """
    rows = check_table(table)
    if lowercase:
        question, rows = question.lower(), [[cell.lower() for cell in row] for row in rows]
    header, *body = rows
    if tokenizer is not None:
        body = [[_cut(cell, tokenizer, max_cell_length) for cell in row] for row in body]
    parts = [f"col : {' | '.join(header)}"]
    parts += [f"row {number} : {' | '.join(row)}" for number, row in enumerate(body, start=1)]
    text = " ".join(parts).strip()
    return f"{question} {text}" if question else text


def _cut(cell: str, tokenizer: Tokenizer, length: int) -> str:
    ids = tokenizer.encode(cell, add_special_tokens=False)
    return cell if len(ids) <= length else tokenizer.decode(ids[:length])
