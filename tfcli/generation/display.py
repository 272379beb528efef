"""Writing a model's text to standard output, while it is made or afterwards."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import BinaryIO, Protocol, TextIO

_ESCAPES = re.compile("[\x1b\x9b]")
"""What begins a command to a terminal, where the reader of a pipe may show the text later."""


_TURNS = "\u202d\u202e"
"""What turns the direction of writing by force, also that of what follows."""


class Write(Protocol):
    """Writes a piece of text at once."""

    def __call__(self, text: str, *, dim: bool = False) -> None:
        """dim: a terminal shows it in grey, for what the model did not make."""


def nowhere(text: str, *, dim: bool = False) -> None:
    """Text that is shown when it is whole."""


def writer(out: TextIO) -> Write:
    """What writes to a terminal, or to a pipe or a file.

    A pipe or a file gets the text byte for byte, in UTF-8, but for what begins a terminal's
    commands; on a terminal every control character is replaced.
    """
    terminal = out.isatty()
    binary: BinaryIO | None = getattr(out, "buffer", None)  # a notebook's output has none
    colors = terminal and not os.environ.get("NO_COLOR")

    def write(text: str, *, dim: bool = False) -> None:
        if terminal:
            grey = dim and colors and text
            out.write(f"\x1b[2m{printable(text)}\x1b[22m" if grey else printable(text))
        elif binary is None:
            out.write(_ESCAPES.sub("\ufffd", text))
        else:
            out.flush()
            binary.write(_ESCAPES.sub("\ufffd", text).encode())
            binary.flush()
        out.flush()

    return write


def printable(text: str) -> str:
    """The text without characters that would control a terminal; line ends and tabs stay."""
    return "".join("\ufffd" if _controls(one) else one for one in text.replace("\r\n", "\n"))


def _controls(char: str) -> bool:
    return char in _TURNS or (unicodedata.category(char) == "Cc" and char not in "\n\t")
