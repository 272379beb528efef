"""Samples that are made of Python's own documentation, which every Python carries; and digits.

They ask for what a text itself answers, so that nothing is downloaded and nobody labelled anything.
Each row has the topic that it is from as `document`: rows of one topic are one cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from tfcli.data.documents import Document, python_docs
from tfcli.data.exercises import exercise_rows
from tfcli.data.paragraphs import keep_once
from tfcli.data.split import split_documents
from tfcli.errors import UsageError, hint
from tfcli.evaluate.tasks.digits import DIGITS, digit_rows

Row = Mapping[str, Any]
_SEED = 0
_MOST = 5  # rows of a topic, so that a few long ones are not most of the task
_OTHERS = 3  # wrong choices beside a right one


def made_rows(name: str, split: str) -> list[Row]:
    """The rows of one split.

    Args:
        name: one of `MADE`.
        split: train, validation or test.

    Raises:
        UsageError: no such split.
    """
    if name == DIGITS:
        return digit_rows(split)
    documents = _documents()
    if split not in documents:
        raise UsageError(
            f"there is no split {split!r}", where="test_split", fix=hint(split, documents)
        )
    chance = random.Random(_SEED)
    return [
        {**row, "document": document.id}
        for document in documents[split]
        for row in _MADE[name](document, chance)
    ]


def _texts(document: Document, chance: random.Random) -> list[Row]:
    """The topic as it is."""
    return [{"text": document.text}]


def _quoted(document: Document, chance: random.Random) -> list[Row]:
    """What is quoted first in a paragraph."""
    found = exercise_rows("questions", [document], _SEED)
    return [
        {"context": row["context"], "answer": row["answers"]["text"][0]} for row in found[:_MOST]
    ]


def _spans(document: Document, chance: random.Random) -> list[Row]:
    """The same, as a question whose answer is a part of the paragraph."""
    return [dict(row) for row in exercise_rows("questions", [document], _SEED)[:_MOST]]


def _endings(document: Document, chance: random.Random) -> list[Row]:
    """How a paragraph goes on: as it does, or as others of the same topic do."""
    found = exercise_rows("preferences", [document], _SEED)
    endings = list(dict.fromkeys(row["chosen"].strip() for row in found))
    rows: list[Row] = []
    for row in found[:_MOST] if len(endings) > _OTHERS else ():
        right = row["chosen"].strip()
        choices = [right, *chance.sample([each for each in endings if each != right], _OTHERS)]
        chance.shuffle(choices)
        label = choices.index(right)
        rows.append({"beginning": row["prompt"], "choices": choices, "label": label})
    return rows


@lru_cache(maxsize=1)
def _documents() -> dict[str, list[Document]]:
    once = keep_once(python_docs()).documents
    return split_documents(once, validation=0.2, test=0.2, seed=_SEED)


_MADE: dict[str, Callable[[Document, random.Random], list[Row]]] = {
    "python-texts": _texts,
    "python-quoted": _quoted,
    "python-endings": _endings,
    "python-spans": _spans,
}
"""`dataset_name` -> (topic, what draws) -> its rows."""
MADE = (*_MADE, DIGITS)
"""Each `dataset_name`."""
