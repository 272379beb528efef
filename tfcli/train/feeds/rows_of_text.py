"""Texts cut into rows, each with the special tokens that its tokenizer puts around a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer


@dataclass(frozen=True)
class TextRow:
    """A piece of a text.

    Args:
        ids: with special tokens.
        words: the places in it of each word's tokens.
    """

    ids: list[int]
    words: list[list[int]]


def text_rows(documents: Sequence[str], tokenizer: Tokenizer, length: int) -> list[TextRow]:
    """Documents as rows of at most `length` tokens, each from one document.

    Raises:
        UsageError: no room beside the special tokens.
    """
    prefix, suffix = list(tokenizer.prefix), list(tokenizer.suffix)
    room = length - len(prefix) - len(suffix)
    if room < 1:
        raise UsageError(
            f"sequence_length {length} leaves no room beside {len(prefix) + len(suffix)} special "
            "tokens",
            where="sequence_length",
            fix="a greater one",
        )
    batch = tokenizer.batch(documents, add_special_tokens=False, return_word_ids=True)
    assert batch.word_ids is not None, "words were asked for"
    rows = []
    for ids, words in zip(batch.ids, batch.word_ids, strict=True):
        for start in range(0, len(ids), room):
            piece = prefix + ids[start : start + room] + suffix
            rows.append(TextRow(piece, _places(words[start : start + room], len(prefix))))
    return [row for row in rows if row.words]


def _places(word_ids: Sequence[int | None], first: int) -> list[list[int]]:
    """The places of each word's tokens, counted from `first`; what is of no word is left out."""
    numbered = enumerate(word_ids, first)
    words = groupby(numbered, key=lambda each: each[1])
    return [[place for place, _ in each] for word, each in words if word is not None]
