"""Questions about a table as TAPAS reads them (Herzig et al. 2020).

A text is `[CLS] question [SEP]`, then the tokens of the names of columns and of the cells, row by
row. Seven token types say of each token where in the table it is and how its cell compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.batch import SIDES, Side
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.table_numbers import column_values, ranks, relations, values_in
from tfcli.tokenizers.tables import Table, check_table

KINDS = (
    "segment_ids",
    "column_ids",
    "row_ids",
    "prev_labels",
    "column_ranks",
    "inv_column_ranks",
    "numeric_relations",
)
"""What `token_type_ids` say of a token, in order."""
EMPTY = "[EMPTY]"
Cell = tuple[int, int]
"""Row and column of a cell, both from 0; the names of columns are no row."""


@dataclass(frozen=True)
class TableBatch:
    """Questions about one table as ids. Every list has one entry a question.

    Args:
        ids: token ids.
        attention_mask: 1 for a token, 0 for one that fills up.
        token_type_ids: seven numbers a token, those of `KINDS`.
        labels: 1 for a token of the answer's cells; None where no answers are given.
        numeric_values: the number in a token's cell, NaN where there is none; with answers only.
        numeric_values_scale: how many tokens a token's cell has; with answers only.
    """

    ids: list[list[int]]
    attention_mask: list[list[int]]
    token_type_ids: list[list[list[int]]]
    labels: list[list[int]] | None
    numeric_values: list[list[float]] | None
    numeric_values_scale: list[list[float]] | None


@dataclass(frozen=True)
class _Piece:
    """A token of the table: `column` and `row` from 1, row 0 names the columns; `word` is where in
    its cell the word begins."""

    id: int
    column: int
    row: int
    word: int


def encode_table(
    tokenizer: Tokenizer,
    table: Table,
    questions: Sequence[str],
    *,
    answers: Sequence[Sequence[Cell]] | None = None,
    max_length: int | None = None,
    truncation: bool = False,
    padding: Side | None = None,
    max_column_id: int = 256,
    max_row_id: int = 256,
) -> TableBatch:
    """The ids of questions about a table.

    Where an entry is too long, cells lose words at their ends, all down to the same number of
    tokens; where one token a cell is still too long, the last rows are left out.

    Args:
        tokenizer: of a TAPAS checkpoint.
        table: rows of texts, the first with the names of the columns; see `tables.read_table`.
        questions: each gives an entry. With answers they are one conversation: `prev_labels` mark
            the answer to the question before.
        answers: the cells of each question's answer.
        max_length: the most ids of an entry; needs `truncation`.
        truncation: whether entries are cut to it.
        padding: the side on which entries are filled up to the longest.
        max_column_id: ids of columns are below it, as the model's table of them has rows.
        max_row_id: the same for rows; more rows are left out with `truncation`.

    Raises:
        UsageError: `max_length` and `truncation` without each other, not as many answers as
            questions, or a table of too many columns or rows.
        WorkError: a table of the wrong form, a tokenizer that is not of TAPAS, a question too long
            for any table, or an answer in a cell that was left out.
    """
    if (max_length is None) == truncation:
        raise UsageError("max_length and truncation need each other", where="max_length")
    if answers is not None and len(answers) != len(questions):
        raise UsageError(
            f"there are {len(questions)} questions, but {len(answers)} answers", where="answers"
        )
    rows = check_table(table)
    _check_size(rows, truncation, max_column_id, max_row_id)
    pieces = _pieces(tokenizer, rows[:max_row_id])
    cells = _Cells(rows)
    entries = []
    for number, question in enumerate(questions):
        ids = _ids(tokenizer, question)
        kept = pieces if max_length is None else _fitted(pieces, max_length - len(ids) - 2)
        before = answers[number - 1] if answers is not None and number else ()
        answer = None if answers is None else answers[number]
        entries.append(_entry(tokenizer, question, ids, kept, cells, before, answer))
    return _batch(entries, tokenizer, padding, answers is not None)


def _check_size(rows: list[list[str]], truncation: bool, columns: int, most: int) -> None:
    if len(rows[0]) >= columns:
        raise UsageError(f"the table has {columns} columns or more", where="table")
    if len(rows) > most and not truncation:
        raise UsageError(
            f"the table has {most} rows or more", where="table", fix="cut it: truncation=True"
        )


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a question or a cell. What has neither letter nor digit is [EMPTY]."""
    plain = text.strip().lower()
    said = plain not in ("n/a", "nan") and any(char.isalnum() for char in plain)
    if said or not text:
        return tokenizer.encode(text, add_special_tokens=False)
    return [_known(tokenizer, tokenizer.backend.token_to_id(EMPTY), EMPTY)]


def _role(tokenizer: Tokenizer, role: str) -> int:
    return _known(tokenizer, tokenizer.special_ids.get(role), role)


def _known(tokenizer: Tokenizer, index: int | None, what: str) -> int:
    if index is None:
        raise WorkError(
            f"the tokenizer has no {what}",
            where=tokenizer.file,
            fix="use the tokenizer of a TAPAS checkpoint",
        )
    return index


def _pieces(tokenizer: Tokenizer, rows: list[list[str]]) -> list[_Piece]:
    found = []
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells, start=1):
            word = 0
            for place, id in enumerate(_ids(tokenizer, cell)):
                if not str(tokenizer.backend.id_to_token(id)).startswith("##"):
                    word = place
                found.append(_Piece(id, column, row, word))
    return found


def _fitted(pieces: list[_Piece], room: int) -> list[_Piece]:
    """The pieces that stay where there is room for so many.

    Raises:
        WorkError: not even the names of the columns have room.
    """
    most = rows = max((piece.row for piece in pieces), default=0)
    while rows and sum(piece.word < 1 for piece in pieces if piece.row <= rows) > room:
        rows -= 1
    left = [piece for piece in pieces if piece.row <= rows]
    longest = max((piece.word for piece in left), default=0) + 1
    fitting = (
        width for width in range(longest, 0, -1) if sum(one.word < width for one in left) <= room
    )
    width = next(fitting, 1) if rows or not most else 1
    kept = [piece for piece in left if piece.word < width]
    if len(kept) > room:
        raise WorkError(
            f"the question and the names of the columns have {len(kept) - room} tokens too many",
            where="max_length",
            fix="ask for more, or shorten the question",
        )
    return kept


class _Cells:
    """What the cells of a table say in numbers; columns and rows are counted from 1."""

    def __init__(self, rows: list[list[str]]) -> None:
        columns = list(zip(*rows[1:], strict=True)) if len(rows) > 1 else [()] * len(rows[0])
        self.columns = [column_values(column) for column in columns]
        self.ranks = {
            (column, row + 1): both
            for column, values in enumerate(self.columns, start=1)
            for row, both in ranks(values).items()
        }

    def number(self, place: tuple[int, int]) -> float:
        column, row = place
        value = self.columns[column - 1].get(row - 1)
        return value if isinstance(value, float) else math.nan

    def relations(self, question: str) -> dict[tuple[int, int], int]:
        asked = values_in(question)
        return {
            (column, row + 1): sum_
            for column, values in enumerate(self.columns, start=1)
            for row, sum_ in relations(asked, values).items()
        }


@dataclass(frozen=True)
class _Entry:
    ids: list[int]
    kinds: list[list[int]]
    labels: list[int]
    values: list[float]
    scale: list[float]

    @property
    def mask(self) -> list[int]:
        return [1] * len(self.ids)


def _entry(
    tokenizer: Tokenizer,
    question: str,
    ids: list[int],
    pieces: list[_Piece],
    cells: _Cells,
    before: Iterable[Cell],
    answer: Iterable[Cell] | None,
) -> _Entry:
    head = [_role(tokenizer, "cls_token"), *ids, _role(tokenizer, "sep_token")]
    asked = cells.relations(question)
    places = [(piece.column, piece.row) for piece in pieces]
    previous, labels = _marked(before, places), _marked(answer or (), places)
    kinds = [
        [1, *place, marked, *cells.ranks.get(place, (0, 0)), asked.get(place, 0)]
        for place, marked in zip(places, previous, strict=True)
    ]
    first = len(head)
    return _Entry(
        ids=head + [piece.id for piece in pieces],
        kinds=[[0] * len(KINDS) for _ in head] + kinds,
        labels=[0] * first + labels,
        values=[math.nan] * first + [cells.number(place) for place in places],
        scale=[1.0] * first + list(_scale(places)),
    )


def _scale(places: list[tuple[int, int]]) -> Iterator[float]:
    counts: dict[tuple[int, int], int] = {}
    for place in places:
        counts[place] = counts.get(place, 0) + 1
    return (float(counts[place]) if place[1] else 1.0 for place in places)


def _marked(cells: Iterable[Cell], places: list[tuple[int, int]]) -> list[int]:
    """1 for the tokens of these cells."""
    wanted = {(column + 1, row + 1) for row, column in cells}
    lost = wanted - set(places)
    if lost:
        column, row = min(lost)
        raise WorkError(
            f"the answer's cell ({row - 1}, {column - 1}) is not in what is left of the table",
            where="answers",
            fix="cells are (row, column) from 0, without the names of the columns",
        )
    return [int(place in wanted) for place in places]


def _batch(
    entries: list[_Entry], tokenizer: Tokenizer, padding: Side | None, answered: bool
) -> TableBatch:
    longest = max((len(entry.ids) for entry in entries), default=0)

    def filled(name: str, value: Any) -> list[list[Any]]:
        lists = [getattr(entry, name) for entry in entries]
        if padding is None:
            return lists
        rests = [[value] * (longest - len(each)) for each in lists]
        pairs = zip(lists, rests, strict=True)
        return [rest + each if padding == "left" else each + rest for each, rest in pairs]

    if padding is not None and padding not in SIDES:
        raise UsageError(f"padding is {padding!r}, not left or right", where="padding")
    pad = 0 if padding is None else _role(tokenizer, "pad_token")
    return TableBatch(
        ids=filled("ids", pad),
        attention_mask=filled("mask", 0),
        token_type_ids=filled("kinds", [0] * len(KINDS)),
        labels=filled("labels", 0) if answered else None,
        numeric_values=filled("values", math.nan) if answered else None,
        numeric_values_scale=filled("scale", 1.0) if answered else None,
    )
