"""Sentences of a text, by its marks alone: no model and no list is needed, and the same text is cut
in the same way anywhere."""

from __future__ import annotations

import re

_END = re.compile(
    r"""
    (?<=[.!?…])["'”’»)\]]*\s+(?=["'“‘«(\[]*[^\W\d_a-zß-öø-ÿ]|["'“‘«(\[]*\d)  # . A   ." (A   . 3
    | (?<=[。！？])[”’」』）]*(?=\S)                                           # full-width marks
    """,  # noqa: RUF001 - the marks that end and quote sentences
    re.VERBOSE,
)


def sentence_lines(text: str) -> str:
    """A text with each sentence on a line of its own.

    A sentence ends after a full stop, an exclamation or a question mark, with the quotes that close
    behind it, where a space and a capital letter, a digit or an opening quote follow; or after a
    full-width mark. So "Dr. Who" is cut as well.
    """
    lines = []
    begin = 0
    for found in _END.finditer(text):
        lines.append(text[begin : found.end()].strip())
        begin = found.end()
    return "\n".join([*lines, text[begin:].strip()])
