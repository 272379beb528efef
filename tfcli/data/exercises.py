"""Small tasks made of texts: rows with answers that follow from the text itself.

They show that an objective learns, and how its rows look, without data that somebody labelled.
Every row has its paragraph as `text`, for tokenizers.
"""

from __future__ import annotations

import keyword
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from tfcli.data.chat_exercise import chat_rows
from tfcli.data.documents import Document
from tfcli.data.drawings import Drawing

Row = dict[str, Any]

_WORDS = re.compile(r"\w+|[^\w\s]")
_QUOTED = re.compile(r'"([^"\n]+)"')
_LEAST, _MOST = 4, 40
"""Words of a paragraph that rows are made of: so many at least, and so many of its first."""


def exercise_rows(kind: str, documents: list[Document], seed: int) -> list[Row]:
    """The rows of an exercise.

    Args:
        kind: `chats`, or one of `EXERCISES`.
        documents: in whose paragraphs lines are joined, but that the labels see them.
        seed: of what is drawn.
    """
    drawn = [document for document in documents if isinstance(document, Drawing)]
    if drawn:
        return [document.row_of(kind) for document in drawn]
    if kind == "chats":
        return [row for document in documents for row in chat_rows(document)]
    chance = random.Random(seed)
    make = EXERCISES[kind]
    rows = []
    for document in documents:
        for paragraph in document.text.split("\n\n"):
            words = paragraph.split()[:_MOST]
            if len(words) >= _LEAST:
                rows += [{"text": " ".join(words), **row} for row in make(paragraph, words, chance)]
    return rows


def _labels(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """What a paragraph is: grammar, code (all lines are indented) or prose."""
    indented = all(line.startswith("   ") for line in paragraph.splitlines())
    yield {"label": "grammar" if "::=" in words else "code" if indented else "prose"}


def _tags(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """What each word is: a word of Python's own, one with a capital, a mark, or another."""
    tokens = _WORDS.findall(" ".join(words))
    yield {"tokens": tokens, "tags": [_tag(token) for token in tokens]}


def _tag(token: str) -> str:
    if keyword.iskeyword(token):
        return "KEYWORD"
    if not token[0].isalnum() and token[0] != "_":
        return "MARK"
    return "CAPITAL" if token[0].isupper() else "OTHER"


def _targets(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """What the first words of a paragraph are, said in words."""
    tokens = _WORDS.findall(" ".join(words))
    yield {"source": " ".join(words), "target": " ".join(_tag(each).lower() for each in tokens[:5])}


def _questions(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """What is quoted first in a paragraph."""
    context = " ".join(words)
    found = _QUOTED.search(context)
    if found:
        answers = {"text": [found[1]], "answer_start": [found.start(1)]}
        yield {"question": "What is quoted first?", "context": context, "answers": answers}


def _preferences(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """How a paragraph goes on, and the same words in another order."""
    half = len(words) // 2
    rest = chance.sample(words[half:], len(words) - half)
    if rest != words[half:]:
        prompt, chosen = " ".join(words[:half]), " ".join(words[half:])
        yield {"prompt": prompt, "chosen": f" {chosen}", "rejected": f" {' '.join(rest)}"}


def _judgements(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """How a paragraph goes on, which is good, or the same words in another order."""
    for row in _preferences(paragraph, words, chance):
        good = chance.random() < 0.5
        answer = row["chosen" if good else "rejected"]
        yield {"prompt": row["prompt"], "completion": answer, "label": good}


def _choices(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """How a paragraph goes on, or the same words spelt backwards."""
    half = len(words) // 2
    both = [" ".join(words[half:]), " ".join(word[::-1] for word in words[half:])]
    label = chance.randrange(2)
    if both[0] != both[1]:
        choices = [both[label], both[1 - label]]
        yield {"question": " ".join(words[:half]), "choices": choices, "label": label}


def _halves(paragraph: str, words: list[str], chance: random.Random) -> Iterator[Row]:
    """The words of a paragraph in two halves that belong together: every other one."""
    yield {"anchor": " ".join(words[::2]), "positive": " ".join(words[1::2])}


EXERCISES: dict[str, Callable[[str, list[str], random.Random], Iterator[Row]]] = {
    "labels": _labels,
    "tags": _tags,
    "targets": _targets,
    "questions": _questions,
    "preferences": _preferences,
    "judgements": _judgements,
    "choices": _choices,
    "halves": _halves,
}
"""Name -> (paragraph, its first words, what draws) -> rows."""
