"""Writing a model's text to standard output, while it is made or afterwards."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TextIO

_ESCAPES = re.compile("[\x1b\x9b]")
"""What begins a command to a terminal, where the reader of a pipe may show the text later."""


def writer(out: TextIO) -> Callable[[str], None]:
    """A function that writes a piece of text at once.

    A pipe or a file gets the text byte for byte, in UTF-8, but for what begins a terminal's
    commands; on a terminal every control character is replaced.
    """
    terminal = out.isatty()

    def write(text: str) -> None:
        if terminal:
            out.write(printable(text))
        else:
            out.flush()
            out.buffer.write(_ESCAPES.sub("\ufffd", text).encode())
            out.buffer.flush()
        out.flush()

    return write


def printable(text: str) -> str:
    """The text without characters that would control a terminal; line ends and tabs stay."""
    return "".join(
        "\ufffd" if unicodedata.category(one) == "Cc" and one not in "\n\t" else one
        for one in text.replace("\r\n", "\n")
    )
