"""Many texts at once: cut to a length, filled up to a common one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.backend import run

Side = Literal["left", "right"]
SIDES = ("left", "right")
Text = str | Sequence[str]
"""A text, or the words that it was split into."""


@dataclass(frozen=True)
class Batch:
    """Texts as ids. Every list has one entry a text, and these have one element an id.

    Args:
        ids: token ids.
        attention_mask: 1 for an id of the text or around it, 0 for one that fills up.
        token_type_ids: 0, and 1 for the second text of a pair where the tokenizer says so.
        overflow: whether ids of the text were left out.
        offsets: first character and the one after the last, in the text that the id is from, or in
            its word where texts were given as words; (0, 0) for special tokens around it. None
            when not asked for.
        word_ids: number of the word that the id is from, counted in each text of a pair anew; None
            for special tokens. None when not asked for.
        sequence_ids: 0 for an id of the first text, 1 of the second, None for special tokens. They
            come with `word_ids`.
    """

    ids: list[list[int]]
    attention_mask: list[list[int]]
    token_type_ids: list[list[int]]
    overflow: list[bool]
    offsets: list[list[tuple[int, int]]] | None = None
    word_ids: list[list[int | None]] | None = None
    sequence_ids: list[list[int | None]] | None = None


def encodings(
    backend: Backend,
    texts: Sequence[Text],
    pairs: Sequence[Text] | None,
    *,
    words: bool,
    add_special_tokens: bool,
    with_places: bool,
    file: str | None = None,
) -> list[Encoding]:
    """What the library says of each text or pair; `file` is the tokenizer's, for errors.

    Args:
        words: each text is a list of words.
        with_places: offsets and word ids are asked for.

    Raises:
        UsageError: not as many second texts as first ones, words where texts are expected, or the
            other way round.
    """
    for name, every in (("texts", texts), ("pairs", pairs or ())):
        _check_texts(name, every, words)
    given: list[Any] = list(map(list, texts)) if words else list(texts)
    if pairs is not None:
        if len(pairs) != len(given):
            raise UsageError(
                f"there are {len(given):,} first texts, but {len(pairs):,} second ones",
                where="pairs",
            )
        given = list(zip(given, map(list, pairs) if words else pairs, strict=True))
    encode = backend.encode_batch if with_places else backend.encode_batch_fast
    options = {"add_special_tokens": add_special_tokens, "is_pretokenized": words}
    return run(encode, given, file, **options)


def _check_texts(name: str, texts: Sequence[Text], words: bool) -> None:
    if isinstance(texts, str):
        raise UsageError("one text was given where a list of texts is expected", where=name)
    for number, text in enumerate(texts):
        if words and (isinstance(text, str) or not all(isinstance(word, str) for word in text)):
            raise UsageError(
                "no list of words, which is_split_into_words expects", where=f"{name}[{number}]"
            )
        if not words and isinstance(text, list | tuple):
            raise UsageError(
                "a list of words where a text is expected",
                where=f"{name}[{number}]",
                fix="say is_split_into_words=True",
            )


def cut(
    found: Sequence[Encoding],
    max_length: int | None,
    side: Side | None,
    *,
    with_offsets: bool,
    with_words: bool,
) -> Batch:
    """Leave out ids of the texts until each entry has `max_length` at most.

    The special tokens stay. Of a pair the longer text loses ids until both are equally long.

    Raises:
        UsageError: one of `max_length` and `side` without the other, or no room for any text.
    """
    if (max_length is None) != (side is None):
        lacking, given = (
            ("truncation", "max_length") if side is None else ("max_length", "truncation")
        )
        raise UsageError(f"{given} needs {lacking}", where=given)
    _check_side(side, "truncation")
    kept = [_kept(one, max_length, side) for one in found]

    def picked(name: str) -> list[list[Any]]:
        every = zip((getattr(one, name) for one in found), kept, strict=True)
        return [
            values if places is None else [values[place] for place in places]
            for values, places in every
        ]

    return Batch(
        ids=picked("ids"),
        attention_mask=picked("attention_mask"),
        token_type_ids=picked("type_ids"),
        overflow=[places is not None for places in kept],
        offsets=picked("offsets") if with_offsets else None,
        word_ids=picked("word_ids") if with_words else None,
        sequence_ids=picked("sequence_ids") if with_words else None,
    )


def _kept(one: Encoding, max_length: int | None, side: Side | None) -> list[int] | None:
    """The places that stay; None where all do."""
    if max_length is None or len(one.ids) <= max_length:
        return None
    texts = one.sequence_ids
    special = texts.count(None)
    room = max_length - special
    if room < 0 or max_length < 1:
        raise UsageError(
            f"max_length {max_length} leaves no room beside {special} special tokens",
            where="max_length",
        )
    first, second = texts.count(0), texts.count(1)
    short = min(first, second, room // 2) if second else 0
    keep = {0: short, 1: room - short} if first <= second else {0: room - short, 1: short}
    totals = {0: first, 1: second}
    seen = {0: 0, 1: 0}
    places = []
    for place, text in enumerate(texts):
        if text is not None:
            number = seen[text]
            seen[text] += 1
            begin = totals[text] - keep[text] if side == "left" else 0
            if not begin <= number < begin + keep[text]:
                continue
        places.append(place)
    return places


def fill(
    batch: Batch,
    pad_id: int | None,
    side: Side | None,
    multiple: int | None,
    max_length: int | None,
) -> Batch:
    """Fill entries up to the length of the longest.

    Raises:
        UsageError: `multiple` without `side`, below 1, or one that leads past `max_length`.
        WorkError: there is no pad token.
    """
    if multiple is not None and (side is None or multiple < 1):
        problem = "needs padding" if side is None else "must be at least 1"
        raise UsageError(f"pad_to_multiple_of {problem}", where="pad_to_multiple_of")
    if multiple is not None and max_length is not None and max_length % multiple:
        raise UsageError(
            f"max_length {max_length} is no multiple of {multiple}, to which texts are filled up",
            where="pad_to_multiple_of",
        )
    _check_side(side, "padding")
    if side is None:
        return batch
    longest = max(map(len, batch.ids), default=0)
    length = -(-longest // multiple) * multiple if multiple else longest
    if pad_id is None:
        if all(len(ids) == length for ids in batch.ids):
            return batch
        raise WorkError(
            "the tokenizer has no pad token to fill up shorter texts with",
            fix='name one in tokenizer_config.json, such as "pad_token": the eos_token',
        )
    pad: int = pad_id

    def filled(entries: list[list[Any]], value: Any) -> list[list[Any]]:
        rest = [[value] * (length - len(entry)) for entry in entries]
        pairs = zip(entries, rest, strict=True)
        return [more + entry if side == "left" else entry + more for entry, more in pairs]

    return Batch(
        ids=filled(batch.ids, pad),
        attention_mask=filled(batch.attention_mask, 0),
        token_type_ids=filled(batch.token_type_ids, 0),
        overflow=batch.overflow,
        offsets=None if batch.offsets is None else filled(batch.offsets, (0, 0)),
        word_ids=None if batch.word_ids is None else filled(batch.word_ids, None),
        sequence_ids=None if batch.sequence_ids is None else filled(batch.sequence_ids, None),
    )


def _check_side(side: str | None, name: str) -> None:
    if side is not None and side not in SIDES:
        raise UsageError(f"{name} is {side!r}, not left or right", where=name)
