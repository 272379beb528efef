"""Keeping each paragraph once, over all documents.

Text that repeats across documents leaks from the training into the test split: what looks like
skill is then memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tfcli.data.documents import Document

_BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")


@dataclass(frozen=True)
class Deduplicated:
    """What is left, and the counts of what went."""

    documents: list[Document]
    paragraphs: int
    paragraphs_dropped: int
    documents_dropped: int


def keep_once(documents: list[Document]) -> Deduplicated:
    """Drop every paragraph that an earlier document, or the same one, already has.

    Paragraphs are separated by blank lines and compared word for word: indentation and line
    breaks do not make two of one. A document with nothing left is dropped.
    """
    seen: set[str] = set()
    kept: list[Document] = []
    dropped = 0
    for document in documents:
        fresh = []
        for paragraph in _BLANK_LINES.split(document.text):
            words = " ".join(paragraph.split())
            if not words:
                continue
            if words in seen:
                dropped += 1
                continue
            seen.add(words)
            fresh.append(paragraph.strip("\r\n"))
        if fresh:
            kept.append(replace(document, text="\n\n".join(fresh) + "\n"))
    return Deduplicated(kept, len(seen), dropped, len(documents) - len(kept))
