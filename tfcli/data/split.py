"""Dealing documents into train, validation and test: none is in two of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tfcli.data.documents import Document
from tfcli.errors import UsageError


def split_documents(
    documents: Sequence[Document], *, validation: float, test: float, seed: int
) -> dict[str, list[Document]]:
    """Split by whole documents, by share of characters.

    In a seeded order, a document goes into the first of test and validation that it still fits
    into; all others are for training. So neither is larger than its share, unless its only
    document is.

    Args:
        documents: in a fixed order, which the splits keep.
        validation: share of the characters, 0 to leave the split empty.
        test: the same.
        seed: equal seeds give equal splits.

    Raises:
        UsageError: fewer documents than splits.
    """
    shares = {name: share for name, share in (("test", test), ("validation", validation)) if share}
    if len(documents) <= len(shares):
        raise UsageError(
            f"{len(documents)} document(s) cannot be split into {len(shares) + 1} parts",
            where="source",
            fix="give more documents, or set validation and test to 0",
        )
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    total = sum(len(document.text) for document in documents)
    place = dict.fromkeys(order, "train")
    for name, share in shares.items():
        room = share * total
        free = [index for index in order if place[index] == "train"]
        for index in free:
            if len(documents[index].text) <= room:
                place[index] = name
                room -= len(documents[index].text)
        if name not in place.values():
            place[min(free, key=lambda index: len(documents[index].text))] = name
    return {
        split: [document for index, document in enumerate(documents) if place[index] == split]
        for split in ("train", "validation", "test")
    }
