"""Conversations made of documents: a heading is asked about, the paragraph below it answers.

They are for trying out training on conversations with no data but what every Python has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfcli.data.documents import Document

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_UNDERLINE = re.compile(r"([^\w\s])\1{2,}")
_SHORTEST = 30  # characters of an answer


@dataclass(frozen=True)
class Question(Document):
    """A document whose text answers a question."""

    question: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation."""
        return [
            {"role": "user", "content": self.question},
            {"role": "assistant", "content": self.text},
        ]


def questions_of(document: Document) -> list[Question]:
    """A question for each heading of a document that has a paragraph of prose below it.

    A heading is a line that is underlined, or that begins with `#`; a paragraph that is indented
    is code or a part of a list, and one that ends with no full stop leads on to what follows.
    """
    found: list[Question] = []
    heading: str | None = None
    for paragraph in _BLANK_LINES.split(document.text):
        named = _heading(paragraph)
        if named is not None:
            heading = named
        elif heading is not None and _is_prose(paragraph):
            name = f"{document.id}:{len(found) + 1}"
            answer = " ".join(paragraph.split())
            found.append(Question(name, answer, f"What is said about {heading}?"))
            heading = None
    return found


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
