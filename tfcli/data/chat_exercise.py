"""Conversations made of documents: a heading is asked about, the paragraph below it answers.

They are for trying out training on conversations with no data but what every Python has.
"""

from __future__ import annotations

import re
from typing import Any

from tfcli.data.documents import Document

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_UNDERLINE = re.compile(r"([^\w\s])\1{2,}")
_SHORTEST = 30  # characters of an answer


def chat_rows(document: Document) -> list[dict[str, Any]]:
    """A conversation for each heading of a document that has a paragraph of prose below it.

    A heading is a line that is underlined, or that begins with `#`; a paragraph that is indented
    is code or a part of a list, and one that ends with no full stop leads on to what follows.

    Returns:
        rows with `id` and `messages`
    """
    rows: list[dict[str, Any]] = []
    heading: str | None = None
    for paragraph in _BLANK_LINES.split(document.text):
        named = _heading(paragraph)
        if named is not None:
            heading = named
        elif heading is not None and _is_prose(paragraph):
            messages = [
                {"role": "user", "content": f"What is said about {heading}?"},
                {"role": "assistant", "content": " ".join(paragraph.split())},
            ]
            rows.append({"id": f"{document.id}:{len(rows) + 1}", "messages": messages})
            heading = None
    return rows


def _heading(paragraph: str) -> str | None:
    lines = paragraph.strip("\n").split("\n")
    if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1].strip()):
        return lines[0].strip()
    if len(lines) == 1 and lines[0].startswith("#"):
        return lines[0].lstrip("#").strip() or None
    return None


def _is_prose(paragraph: str) -> bool:
    text = paragraph.rstrip()
    return text[:1].isalpha() and text.endswith(".") and len(text) >= _SHORTEST
