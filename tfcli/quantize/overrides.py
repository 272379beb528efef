"""Linears that are quantized otherwise than the others: a pattern on full names, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Block types of GGUF that can be written: the keys of `models.layouts.ggml.GGML_TYPES`, without
torch; a test compares them."""
_WIDTH = re.compile(r"([2348])bit(?::(-1|16|32|64|128|256|512|1024))?")
WIDTHS = "8bit or 4bit:32, with 2, 3, 4 or 8 bits"
"""What words with bits look like."""


@dataclass(frozen=True)
class Override:
    """What the linears with a match in their full names get.

    Args:
        pattern: a regular expression.
        word: `8bit`, `4bit:32` with a group size, or of the layout gguf a type such as `Q6_K`.
    """

    pattern: re.Pattern[str]
    word: str

    @classmethod
    def parse(cls, text: str, *, types: bool) -> Override:
        """Read `regex=word`.

        Args:
            text: as it was written.
            types: whether words are block types of GGUF, not bits.

        Raises:
            ValueError: neither, or no regular expression.
        """
        pattern, _, word = text.rpartition("=")
        if not pattern or not (word in TYPES if types else _WIDTH.fullmatch(word)):
            like = (
                f"down_proj=Q6_K, with one of {', '.join(TYPES)}"
                if types
                else "layers\\.0\\.=8bit or down_proj=4bit:32, with 2, 3, 4 or 8 bits"
            )
            raise ValueError(f"overrides: {text!r} is not like {like}")
        try:
            return cls(re.compile(pattern), word)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"overrides: {pattern!r}: {error}") from None


def word_for(overrides: Sequence[Override], name: str) -> str | None:
    """The word of the first override that a full name has a match for."""
    return next((each.word for each in overrides if each.pattern.search(name)), None)


def is_width(word: str) -> bool:
    """Whether a word says bits, and perhaps a group size."""
    return _WIDTH.fullmatch(word) is not None


def width_of(word: str) -> tuple[int, int | None]:
    """The bits of a word, and its group size where it has one."""
    match = _WIDTH.fullmatch(word)
    assert match is not None, "words are checked when they are parsed"
    return int(match[1]), int(match[2]) if match[2] else None
