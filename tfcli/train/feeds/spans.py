"""Long contexts in windows, each with its question, and where an answer lies in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.feeds.columns import Table


@dataclass(frozen=True)
class Answer:
    """A part of a context.

    Args:
        start: its first character.
        stop: the one after its last.
    """

    start: int
    stop: int


@dataclass(frozen=True)
class Window:
    """A part of a context with its question and the special tokens around both.

    Args:
        ids: of all.
        types: 0, and 1 for the second text, where the tokenizer says so.
        first: the place of the context's first token in it.
        offsets: of each of the context's tokens, its first character and the one after its last.
    """

    ids: list[int]
    types: list[int]
    first: int
    offsets: Sequence[tuple[int, int]]

    def place(self, answer: Answer | None) -> tuple[int, int] | None:
        """The places of the first and the last token of an answer; None where it is not whole in
        the window."""
        if answer is None or not self.offsets:
            return None
        if answer.start < self.offsets[0][0] or answer.stop > self.offsets[-1][1]:
            return None
        begins = [at for at, (start, _) in enumerate(self.offsets) if start <= answer.start]
        ends = [at for at, (_, stop) in enumerate(self.offsets) if stop >= answer.stop]
        return self.first + begins[-1], self.first + ends[0]


def windows(
    table: Table, tokenizer: Tokenizer, length: int, stride: int
) -> Iterator[tuple[int, Window]]:
    """The windows of each row's context, with the row's number.

    Args:
        length: the most tokens of a window.
        stride: tokens of the context that a window has in common with the next one.

    Raises:
        WorkError: a question that leaves no room for more of the context than `stride`, or a
            context without tokens; names the row.
        UsageError: a tokenizer that puts the context first.
    """
    batch = tokenizer.batch(
        table.texts("question"),
        table.texts("context"),
        return_offsets=True,
        return_word_ids=True,
    )
    assert batch.offsets is not None and batch.sequence_ids is not None, "they were asked for"
    rows = zip(batch.ids, batch.token_type_ids, batch.offsets, batch.sequence_ids, strict=True)
    for number, (ids, types, offsets, texts) in enumerate(rows):
        if 1 not in texts:
            raise table.problem(number, "the context has no tokens", "leave the row out")
        first = texts.index(1)
        stop = len(texts) - texts[::-1].index(1)
        if 0 in texts[first:]:
            raise UsageError("the tokenizer puts the second text first", where="tokenizer")
        room = length - first - (len(ids) - stop)
        if room < 1 or (stop - first > room and room <= stride):
            raise table.problem(
                number,
                f"the question leaves room for {max(0, room)} tokens of its context beside it, "
                f"and windows have {stride} in common",
                "a greater sequence_length, or a smaller stride",
            )
        for begin in range(first, stop, room - stride if stop - first > room else room):
            end = min(begin + room, stop)
            yield (
                number,
                Window(
                    ids[:first] + ids[begin:end] + ids[stop:],
                    types[:first] + types[begin:end] + types[stop:],
                    first,
                    offsets[begin:end],
                ),
            )
            if end == stop:
                break


def answers_of(table: Table) -> list[Answer | None]:
    """The first answer of each row, as SQuAD has them; None where its list is empty.

    Raises:
        WorkError: no such answers, or a text that does not stand where it is said to; names the
            row.
    """
    rows = zip(table.values("answers"), table.texts("context"), strict=True)
    return [_answer(table, number, *row) for number, row in enumerate(rows)]


def _answer(table: Table, number: int, answers: Any, context: str) -> Answer | None:
    found = answers if isinstance(answers, dict) else {}
    texts, starts = found.get("text"), found.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list):
        raise table.problem(
            number,
            "the answers are not as SQuAD has them",
            'give {"text": ["..."], "answer_start": [0]}, or empty lists where there is none',
        )
    if not texts and not starts:
        return None
    if len(texts) != len(starts):
        raise table.problem(number, f"there are {len(texts)} texts and {len(starts)} answer_start")
    text, start = texts[0], starts[0]
    right = isinstance(text, str) and isinstance(start, int) and text and start >= 0
    if not right or context[start : start + len(text)] != text:
        raise table.problem(
            number, f"the answer {text!r} is not in the context at answer_start {start!r}"
        )
    return Answer(start, start + len(text))
